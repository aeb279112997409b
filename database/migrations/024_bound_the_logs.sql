-- ctm: no-transaction
-- First of the steps that turn the four logs into tables partitioned by month, without copying a row:
-- each becomes the oldest partition of a new table (docs/decisions/0022). Here: from now on every row
-- has a time, below a month's end that is at least a month away, or beyond the newest row. Attaching
-- will then need no scan.
--
-- Locks: one log at a time, for a change of the catalog. Can be run again at any point.
DO $$
DECLARE
    log record;
    newest timestamptz;
    bound timestamptz;
BEGIN
    FOR log IN
        SELECT * FROM (VALUES ('audit_logs', 'timestamp'), ('api_access_logs', 'created_at'),
                              ('system_metrics', 'timestamp'), ('performance_metrics', 'timestamp')
                      ) AS logs (name, time_column)
    LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_constraint
                              WHERE conrelid = format('public.%I', log.name)::regclass
                                AND conname = log.name || '_legacy_bound');
        EXECUTE format('SELECT max(%1$I) FROM public.%2$I WHERE %1$I < %3$L',
                       log.time_column, log.name, 'infinity') INTO newest;
        -- Months are those of UTC, whatever the session's time zone.
        bound := (date_trunc('month', greatest(newest, now() + interval '1 month') AT TIME ZONE 'UTC')
                  + interval '1 month') AT TIME ZONE 'UTC';
        EXECUTE format('ALTER TABLE public.%I ADD CONSTRAINT %I CHECK (%I IS NOT NULL AND %I < %L)'
                       ' NOT VALID',
                       log.name, log.name || '_legacy_bound', log.time_column, log.time_column, bound);
        COMMIT;
    END LOOP;
END
$$;
