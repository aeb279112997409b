-- ctm: no-transaction
-- Checks the rows that were there before 024.
--
-- Locks: none that keeps readers or writers out; reads each log once. Can be run again at any point.
DO $$
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT conrelid::regclass AS table_name, conname
        FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND contype = 'c' AND NOT convalidated
          AND conname LIKE '%\_legacy\_bound'
        ORDER BY conname
    LOOP
        EXECUTE format('ALTER TABLE %s VALIDATE CONSTRAINT %I', found.table_name, found.conname);
        COMMIT;
    END LOOP;
END
$$;
