-- Each log is partitioned now.
DROP PROCEDURE partition_log(name, name);
