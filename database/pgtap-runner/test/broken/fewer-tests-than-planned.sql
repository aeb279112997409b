BEGIN;
SELECT plan(3);
SELECT pass('one');
SELECT pass('two');
ROLLBACK;
