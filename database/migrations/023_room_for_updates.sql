-- Leaves room in each page of tasks for the next version of a row, so that an update that changes no
-- indexed column writes to no index (docs/indexes.md). Applies to pages written from now on.
--
-- Locks: none that keeps readers or writers out.
SET LOCAL lock_timeout = '1s';

ALTER TABLE tasks SET (fillfactor = 90);
