-- ctm: no-transaction
-- Checks the rows that were there before the constraints of 003.
--
-- Locks: none that keeps readers or writers out; reads each table once. A row that breaks a
-- constraint stops the run here, with the constraint's name: mend the row and run again.
DO $$
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT conrelid::regclass AS table_name, conname
        FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND contype = 'c' AND NOT convalidated
        ORDER BY conrelid::regclass::text, conname
    LOOP
        EXECUTE format('ALTER TABLE %s VALIDATE CONSTRAINT %I', found.table_name, found.conname);
        COMMIT;
    END LOOP;
END
$$;
