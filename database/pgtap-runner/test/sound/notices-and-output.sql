BEGIN;
SELECT plan(1);
DO $$ BEGIN RAISE NOTICE 'not ok 1 - this is a notice'; END $$;
SELECT 'some output';
SELECT diag('a diagnostic');
SELECT pass('one');
SELECT * FROM finish();
ROLLBACK;
