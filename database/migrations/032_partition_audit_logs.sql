-- audit_logs by month (031). Its primary key becomes (id, timestamp).
--
-- Locks: audit_logs against everybody, for changes of the catalog only.
SET LOCAL lock_timeout = '1s';

CALL partition_log('audit_logs', 'timestamp');
