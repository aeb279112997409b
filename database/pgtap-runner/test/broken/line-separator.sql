BEGIN;
SELECT plan(1);
SELECT pass();
SELECT U&'not ok 2 - a\2028b';
ROLLBACK;
