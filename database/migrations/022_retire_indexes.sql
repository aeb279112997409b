-- ctm: no-transaction
-- Drops the indexes that 009 retired: each costs every write, and the ones that stay serve their
-- queries (docs/indexes.md).
--
-- Locks: the table of each index, for a change of the catalog. Can be run again at any point.
DO $$
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT class.relname AS name
        FROM pg_index index JOIN pg_class class ON class.oid = index.indexrelid
        WHERE class.relnamespace = 'public'::regnamespace AND class.relname LIKE 'retired\_idx\_%'
        ORDER BY class.relname
    LOOP
        EXECUTE format('DROP INDEX public.%I', found.name);
        COMMIT;
    END LOOP;
END
$$;
