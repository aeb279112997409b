BEGIN;
SELECT plan(1);
SELECT pass('fine');
SELECT * FROM finish();
