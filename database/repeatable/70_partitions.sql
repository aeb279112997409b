-- The partitions of the coming months, when the schema is new.
SELECT create_log_partitions();
