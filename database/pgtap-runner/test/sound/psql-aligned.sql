BEGIN;
\x on
\x off
\o /dev/null
SELECT 'not seen';
\o
SELECT plan(1);
SELECT pass('one');
SELECT * FROM finish();
ROLLBACK;
