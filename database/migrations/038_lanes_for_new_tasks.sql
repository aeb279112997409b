-- Where those leave a trace who give a task of their own its first dependencies: they need not wait for
-- the one turn (docs/decisions/0060). Locks nothing that exists.
--
-- One lane a session, by its process id: two sessions that share one are rare, and no harm.
-- squawk-ignore-file prefer-bigint-over-int

CREATE TABLE task_dependency_lanes (
    lane INTEGER PRIMARY KEY,
    uses BIGINT NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
INSERT INTO task_dependency_lanes (lane) SELECT generate_series(0, 63);
