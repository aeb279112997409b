BEGIN;
CREATE SCHEMA unit;
CREATE FUNCTION unit.test_sums() RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
  RETURN NEXT is(1, 1, 'holds');
  RETURN NEXT is(1, 2, 'does not hold');
END $$;
SELECT * FROM runtests('unit'::name);
ROLLBACK;
