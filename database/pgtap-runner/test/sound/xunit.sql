BEGIN;
CREATE SCHEMA unit;
CREATE FUNCTION unit.startup() RETURNS SETOF text LANGUAGE sql AS $$ SELECT pass('starting') $$;
CREATE FUNCTION unit.test_one() RETURNS SETOF text LANGUAGE sql AS $$ SELECT ok(true, 'one') $$;
CREATE FUNCTION unit.test_two() RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
  RETURN NEXT ok(true, 'two');
  RETURN NEXT ok(true, 'three');
END $$;
SELECT * FROM runtests('unit'::name, '^test');
ROLLBACK;
