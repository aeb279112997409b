-- api_access_logs by month (031). Its primary key becomes (id, created_at).
--
-- Locks: api_access_logs against everybody, for changes of the catalog only.
SET LOCAL lock_timeout = '1s';

CALL partition_log('api_access_logs', 'created_at');
