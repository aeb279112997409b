-- The logs grow by the month and shrink by the month (docs/decisions/0022).

-- Makes the partitions of the coming months, and returns how many it made. Rows that came before their
-- month had one lie in the default partition, and move. Run at least monthly; missing it loses nothing.
CREATE OR REPLACE FUNCTION create_log_partitions(months_ahead integer DEFAULT 3) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp SET timezone = 'UTC' SET lock_timeout = '2s' AS $$
DECLARE
    log record;
    month timestamptz;
    last_month CONSTANT timestamptz := date_trunc('month', now() + make_interval(months => months_ahead));
    partition_name name;
    is_guarded boolean;
    needs_move boolean;
    made integer := 0;
BEGIN
    IF months_ahead < 0 OR months_ahead > 120 OR months_ahead IS NULL THEN
        RAISE EXCEPTION 'months_ahead is between 0 and 120' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOR log IN SELECT * FROM log_tables() LOOP
        -- One at a time; reading and writing go on.
        EXECUTE format('LOCK TABLE public.%I IN SHARE UPDATE EXCLUSIVE MODE', log.name);
        SELECT max(upper_bound) INTO month FROM log_partitions(log.name);
        month := coalesce(month, date_trunc('month', now()));
        WHILE month <= last_month LOOP
            partition_name := format('%s_%s', log.name, to_char(month, 'YYYY_MM'));
            EXECUTE format('CREATE TABLE public.%I (LIKE public.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)',
                           partition_name, log.name);
            SELECT relrowsecurity INTO is_guarded
            FROM pg_class WHERE oid = format('public.%I', log.name)::regclass;
            IF is_guarded THEN
                PERFORM guard_log_partition(partition_name);
            END IF;
            EXECUTE format('SELECT EXISTS (SELECT FROM public.%I WHERE %I >= $1 AND %2$I < $2)',
                           log.name || '_default', log.time_column)
            INTO needs_move USING month, month + interval '1 month';
            IF needs_move THEN
                EXECUTE format('LOCK TABLE public.%I IN ACCESS EXCLUSIVE MODE', log.name || '_default');
                EXECUTE format('WITH moved AS (DELETE FROM public.%I WHERE %I >= $1 AND %2$I < $2 RETURNING *)'
                               ' INSERT INTO public.%3$I SELECT * FROM moved',
                               log.name || '_default', log.time_column, partition_name)
                USING month, month + interval '1 month';
            END IF;
            EXECUTE format('ALTER TABLE public.%I ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)',
                           log.name, partition_name, month, month + interval '1 month');
            made := made + 1;
            month := month + interval '1 month';
        END LOOP;
    END LOOP;
    RETURN made;
END
$$;

-- The logs, and the column that says when.
CREATE OR REPLACE FUNCTION log_tables() RETURNS TABLE (name text, time_column text)
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    VALUES ('audit_logs', 'timestamp'), ('api_access_logs', 'created_at'),
           ('system_metrics', 'timestamp'), ('performance_metrics', 'timestamp')
$$;

-- The partitions of a log that have an end, that is all but the default one.
CREATE OR REPLACE FUNCTION log_partitions(log_name text)
RETURNS TABLE (name name, upper_bound timestamptz)
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT class.relname,
           substring(pg_get_expr(class.relpartbound, class.oid) FROM $pattern$TO \('([^']+)'\)$pattern$)::timestamptz
    FROM pg_inherits JOIN pg_class class ON class.oid = inhrelid
    WHERE inhparent = format('public.%I', log_name)::regclass
      AND pg_get_expr(class.relpartbound, class.oid) <> 'DEFAULT'
$$;

-- A partition of a guarded log is reached through the log only. Nobody has a privilege on it; should
-- somebody grant one, it still shows no row.
CREATE OR REPLACE FUNCTION guard_log_partition(partition_name name) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', partition_name);
    EXECUTE format('ALTER TABLE public.%I FORCE ROW LEVEL SECURITY', partition_name);
    IF NOT EXISTS (SELECT FROM pg_policy WHERE polname = 'partition_owner_policy'
                   AND polrelid = format('public.%I', partition_name)::regclass) THEN
        EXECUTE format('CREATE POLICY partition_owner_policy ON public.%I TO ctm_owner'
                       ' USING (true) WITH CHECK (true)', partition_name);
    END IF;
END
$$;

DO $$
BEGIN
    -- The document's function, and whatever somebody made of it, answers another type or has another
    -- name for its argument.
    IF EXISTS (SELECT FROM pg_proc WHERE pronamespace = 'public'::regnamespace
               AND proname = 'cleanup_old_logs'
               AND (prorettype <> 'integer'::regtype
                    OR pg_get_function_identity_arguments(oid) <> 'days_to_keep integer')) THEN
        EXECUTE (SELECT string_agg(format('DROP FUNCTION %s', oid::regprocedure), '; ')
                 FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND proname = 'cleanup_old_logs');
    END IF;
END
$$;

-- Removes what is older than so many days from the logs, and resolved errors, and returns how many rows
-- are gone. Months that are wholly older are dropped, which takes no time and leaves no garbage.
--
-- A setting `retention.TABLE_days` goes before the argument for that table. Metrics are never kept
-- longer than `monitoring.metrics_retention_days`. Audit rows are sealed first, and their digest stays
-- (verify_audit_log).
CREATE OR REPLACE FUNCTION cleanup_old_logs(days_to_keep integer DEFAULT 90) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    log record;
    partition record;
    days integer;
    cutoff timestamptz;
    removed bigint;
    removed_of_log bigint;
    total bigint := 0;
BEGIN
    IF days_to_keep IS NULL OR days_to_keep < 1 THEN
        RAISE EXCEPTION 'days_to_keep is at least 1, not %', coalesce(days_to_keep::text, 'null')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM seal_audit_log();

    FOR log IN SELECT * FROM log_tables() LOOP
        days := retention_days(log.name, days_to_keep);
        cutoff := now() - make_interval(days => days);
        removed_of_log := 0;
        IF log.name = 'audit_logs' THEN
            -- Whole seals only, and nothing that has none.
            SELECT max(period_end) INTO cutoff
            FROM audit_seals WHERE kind = 'rows' AND period_end <= cutoff;
            CONTINUE WHEN cutoff IS NULL;
        END IF;

        FOR partition IN
            SELECT name, upper_bound <= cutoff AS is_over FROM log_partitions(log.name)
            UNION ALL SELECT log.name || '_default', false
        LOOP
            -- Inner block: where somebody reads the log all the time, its month goes next time.
            BEGIN
                IF partition.is_over THEN
                    PERFORM set_config('lock_timeout', '2s', true);
                    -- Exclusive, so that the count is that of the rows dropped.
                    EXECUTE format('LOCK TABLE public.%I, public.%I IN ACCESS EXCLUSIVE MODE',
                                   log.name, partition.name);
                    EXECUTE format('SELECT count(*) FROM public.%I', partition.name) INTO removed;
                    EXECUTE format('DROP TABLE public.%I', partition.name);
                ELSE
                    EXECUTE format('DELETE FROM public.%I WHERE %I < $1', partition.name, log.time_column)
                    USING cutoff;
                    GET DIAGNOSTICS removed = ROW_COUNT;
                END IF;
                removed_of_log := removed_of_log + removed;
            EXCEPTION WHEN lock_not_available THEN
                RAISE NOTICE '% is in use and stays until the next clean-up', partition.name;
                -- Of the audit log all or nothing goes, or its chain would miss rows that are there.
                IF log.name = 'audit_logs' THEN
                    RAISE;
                END IF;
            END;
        END LOOP;

        IF log.name = 'audit_logs' AND removed_of_log > 0 THEN
            PERFORM append_audit_seal('retention', '-infinity', cutoff, removed_of_log, NULL);
            UPDATE audit_seals SET row_digests = NULL
            WHERE kind = 'rows' AND period_end <= cutoff AND row_digests IS NOT NULL;
        END IF;
        total := total + removed_of_log;
    END LOOP;

    DELETE FROM error_logs
    WHERE resolved AND resolved_at < now() - make_interval(days => retention_days('error_logs', days_to_keep));
    GET DIAGNOSTICS removed = ROW_COUNT;
    total := total + removed;

    PERFORM create_log_partitions();
    RETURN least(total, 2147483647);
END
$$;

-- How many days a table keeps its rows: from one to a thousand years, before which there is no date.
CREATE OR REPLACE FUNCTION retention_days(table_name text, fallback integer) RETURNS integer
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT least(365000, greatest(1, numeric_setting(
        format('retention.%s_days', table_name),
        CASE WHEN table_name IN ('system_metrics', 'performance_metrics')
             THEN least(fallback, numeric_setting('monitoring.metrics_retention_days', fallback))
             ELSE fallback END)))::integer
$$;
