-- ctm: no-transaction
-- A time for the log rows that have none, or an infinite one: the time of this run. The columns were
-- nullable; rows that nobody gave a time, nobody can retain or find by time.
--
-- Locks: those rows only. Can be run again at any point.
DO $$
DECLARE
    log record;
BEGIN
    FOR log IN
        SELECT * FROM (VALUES ('audit_logs', 'timestamp'), ('api_access_logs', 'created_at'),
                              ('system_metrics', 'timestamp'), ('performance_metrics', 'timestamp')
                      ) AS logs (name, time_column)
    LOOP
        EXECUTE format('UPDATE public.%1$I SET %2$I = now() WHERE %2$I IS NULL', log.name, log.time_column);
        EXECUTE format('UPDATE public.%1$I SET %2$I = now() WHERE %2$I = %3$L',
                       log.name, log.time_column, 'infinity');
        COMMIT;
    END LOOP;
END
$$;
