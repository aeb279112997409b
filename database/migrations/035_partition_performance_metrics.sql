-- performance_metrics by month (031). Its primary key becomes (id, timestamp).
--
-- Locks: performance_metrics against everybody, for changes of the catalog only.
SET LOCAL lock_timeout = '1s';

CALL partition_log('performance_metrics', 'timestamp');
