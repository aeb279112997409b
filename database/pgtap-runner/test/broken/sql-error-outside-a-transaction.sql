SELECT plan(1);
SELECT pass('fine');
SELECT 1 / 0;
