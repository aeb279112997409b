BEGIN;
SELECT plan(2);
SELECT pass('before');
SELECT is((SELECT missing FROM pg_class), 1, 'no such column');
SELECT * FROM finish();
ROLLBACK;
