-- A procedure for the four files that follow, dropped by 036. In one transaction it renames a log to
-- NAME_legacy, makes a partitioned table of the same columns, constraints, indexes and grants in its
-- place, and attaches the old one as the partition of everything up to its bound (024). Views follow.
--
-- Locks, when called: the log against everybody, for changes of the catalog only.
CREATE PROCEDURE partition_log(log_name name, time_column name)
LANGUAGE plpgsql AS $$
DECLARE
    legacy CONSTANT name := log_name || '_legacy';
    bound timestamptz;
    is_guarded boolean;
    view_texts text[];
    index_texts text[];
    grant_texts text[];
    statement text;
    found record;
BEGIN
    EXECUTE format('LOCK TABLE public.%I IN ACCESS EXCLUSIVE MODE', log_name);

    SELECT substring(pg_get_constraintdef(oid) FROM $pattern$'([^']+)'::timestamp$pattern$)
    INTO STRICT bound
    FROM pg_constraint
    WHERE conrelid = format('public.%I', log_name)::regclass AND conname = log_name || '_legacy_bound';

    SELECT relrowsecurity INTO is_guarded
    FROM pg_class WHERE oid = format('public.%I', log_name)::regclass;

    -- Views know their tables by identity, not by name: they are told of the new one below.
    SELECT coalesce(array_agg(DISTINCT format('CREATE OR REPLACE VIEW %s AS %s', dependent.oid::regclass,
                                              pg_get_viewdef(dependent.oid))), '{}')
    INTO view_texts
    FROM pg_depend depend
    JOIN pg_rewrite rewrite ON depend.classid = 'pg_rewrite'::regclass AND rewrite.oid = depend.objid
    JOIN pg_class dependent ON dependent.oid = rewrite.ev_class AND dependent.relkind = 'v'
    WHERE depend.refclassid = 'pg_class'::regclass
      AND depend.refobjid = format('public.%I', log_name)::regclass;

    SELECT coalesce(array_agg(pg_get_indexdef(indexrelid)), '{}')
    INTO index_texts
    FROM pg_index index
    WHERE indrelid = format('public.%I', log_name)::regclass
      AND NOT indisprimary
      AND indexrelid <> format('public.%I', legacy || '_pkey')::regclass;

    SELECT coalesce(array_agg(format('GRANT %s ON public.%I TO %s', privilege_type, log_name,
                                     CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)),
                    '{}')
    INTO grant_texts
    FROM pg_class, aclexplode(relacl)
    WHERE pg_class.oid = format('public.%I', log_name)::regclass AND grantee <> relowner;

    -- The bound proves NOT NULL, so that this reads nothing.
    EXECUTE format('ALTER TABLE public.%I ALTER COLUMN %I SET NOT NULL', log_name, time_column);
    EXECUTE format('ALTER TABLE public.%I DROP CONSTRAINT %I', log_name, log_name || '_pkey');
    EXECUTE format('ALTER TABLE public.%I ADD CONSTRAINT %I PRIMARY KEY USING INDEX %I', log_name,
                   legacy || '_pkey', legacy || '_pkey');
    EXECUTE format('ALTER TABLE public.%I RENAME TO %I', log_name, legacy);
    FOR found IN
        SELECT class.relname AS name
        FROM pg_index index JOIN pg_class class ON class.oid = index.indexrelid
        WHERE index.indrelid = format('public.%I', legacy)::regclass AND NOT index.indisprimary
    LOOP
        EXECUTE format('ALTER INDEX public.%I RENAME TO %I', found.name, left('legacy_' || found.name, 63));
    END LOOP;
    -- What guarded or watched the whole log does so on the new table, and would do so twice.
    FOR found IN SELECT polname FROM pg_policy WHERE polrelid = format('public.%I', legacy)::regclass LOOP
        EXECUTE format('DROP POLICY %I ON public.%I', found.polname, legacy);
    END LOOP;
    FOR found IN
        SELECT tgname FROM pg_trigger
        WHERE tgrelid = format('public.%I', legacy)::regclass AND NOT tgisinternal
    LOOP
        EXECUTE format('DROP TRIGGER %I ON public.%I', found.tgname, legacy);
    END LOOP;
    FOR found IN
        SELECT DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS grantee
        FROM pg_class, aclexplode(relacl)
        WHERE pg_class.oid = format('public.%I', legacy)::regclass AND grantee <> relowner
    LOOP
        EXECUTE format('REVOKE ALL ON public.%I FROM %s', legacy, found.grantee);
    END LOOP;

    EXECUTE format('CREATE TABLE public.%I (LIKE public.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)'
                   ' PARTITION BY RANGE (%I)', log_name, legacy, time_column);
    EXECUTE format('ALTER TABLE public.%I DROP CONSTRAINT %I', log_name, log_name || '_legacy_bound');
    EXECUTE format('ALTER TABLE public.%I ALTER COLUMN id SET DEFAULT time_ordered_uuid()', log_name);
    EXECUTE format('ALTER TABLE public.%I ADD CONSTRAINT %I PRIMARY KEY (id, %I)', log_name,
                   log_name || '_pkey', time_column);
    FOREACH statement IN ARRAY index_texts LOOP
        EXECUTE statement;
    END LOOP;

    -- Where there is nothing to keep, months begin at once.
    EXECUTE format('SELECT CASE WHEN EXISTS (SELECT FROM public.%I) THEN $1 ELSE $2 END', legacy)
    INTO bound
    USING bound, date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC';
    EXECUTE format('ALTER TABLE public.%I ATTACH PARTITION public.%I FOR VALUES FROM (MINVALUE) TO (%L)',
                   log_name, legacy, bound);
    EXECUTE format('ALTER TABLE public.%I DROP CONSTRAINT %I', legacy, log_name || '_legacy_bound');
    -- A log never refuses a row for want of a partition: create_log_partitions moves it from here.
    EXECUTE format('CREATE TABLE public.%I PARTITION OF public.%I DEFAULT', log_name || '_default',
                   log_name);

    IF is_guarded THEN
        EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', log_name);
    END IF;
    FOREACH statement IN ARRAY grant_texts LOOP
        EXECUTE statement;
    END LOOP;
    FOREACH statement IN ARRAY view_texts LOOP
        EXECUTE statement;
    END LOOP;
END
$$;
