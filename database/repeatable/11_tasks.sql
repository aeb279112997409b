-- What keeps tasks right, and what the views of them are made of.

CREATE OR REPLACE FUNCTION update_updated_at_column() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$;

-- A task has a completion time exactly while it is completed.
CREATE OR REPLACE FUNCTION keep_completed_at() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.status = 'completed' THEN
        NEW.completed_at := coalesce(NEW.completed_at, now());
    ELSE
        NEW.completed_at := NULL;
    END IF;
    RETURN NEW;
END
$$;

-- The tasks that others wait for, each with everything that waits for it: for each pair of root and
-- task the shortest way and its length. A root waits for nothing; a cycle that no root leads to
-- begins at its smallest task. With `cycles_only`, just the tasks in cycles.
--
-- A breadth-first walk over arrays: a recursive query knows no "seen already" beyond whole rows, so
-- that at every diamond the number of its rows doubles (18 diamonds in a row: a million). The planner
-- cannot know how few rows its joins have, and would compile for half a second.
CREATE OR REPLACE FUNCTION task_dependency_closure(
    dependency_types text[] DEFAULT '{depends_on}', cycles_only boolean DEFAULT false)
RETURNS TABLE (task_id uuid, root_task_id uuid, depth integer, path uuid[], in_cycle boolean)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, public, pg_temp SET jit = off AS $$
DECLARE
    -- Tasks are numbered from 1. The targets of task n are target[first_target[n]] up to, not
    -- including, target[first_target[n + 1]]; sources likewise.
    ids uuid[];
    target integer[];
    first_target integer[];
    source integer[];
    first_source integer[];
    task_count integer;
    waits_for integer[];
    is_cyclic boolean[];
    root_of_cycle boolean[];
    seen integer[];
    seen_back integer[];
    previous integer[];
    depth_of integer[];
    queue integer[];
    queue_head integer;
    queue_tail integer;
    is_settled boolean[];
    is_reached boolean[];
    n integer;
    m integer;
    i integer;
    at integer;
    is_second_pass boolean;
BEGIN
    WITH edge AS (
        SELECT DISTINCT parent_task_id, child_task_id
        FROM task_dependencies WHERE dependency_type = ANY (dependency_types)
    ), task AS (
        SELECT id, (row_number() OVER (ORDER BY id))::integer AS number
        FROM (SELECT parent_task_id FROM edge UNION SELECT child_task_id FROM edge) AS linked (id)
    ), numbered AS (
        SELECT parent.number AS source, child.number AS target
        FROM edge
        JOIN task parent ON parent.id = parent_task_id
        JOIN task child ON child.id = child_task_id
    )
    SELECT
        (SELECT array_agg(id ORDER BY number) FROM task),
        (SELECT array_agg(numbered.target ORDER BY numbered.source, numbered.target) FROM numbered),
        (SELECT array_agg(1 + coalesce(before, 0) ORDER BY number) FROM (
            SELECT number, sum(edges) OVER (ORDER BY number ROWS BETWEEN UNBOUNDED PRECEDING
                                            AND 1 PRECEDING)::integer AS before
            FROM (SELECT number, count(numbered.target) AS edges
                  FROM (SELECT number FROM task UNION ALL SELECT count(*)::integer + 1 FROM task) every
                  LEFT JOIN numbered ON numbered.source = number GROUP BY number) counted) summed),
        (SELECT array_agg(numbered.source ORDER BY numbered.target, numbered.source) FROM numbered),
        (SELECT array_agg(1 + coalesce(before, 0) ORDER BY number) FROM (
            SELECT number, sum(edges) OVER (ORDER BY number ROWS BETWEEN UNBOUNDED PRECEDING
                                            AND 1 PRECEDING)::integer AS before
            FROM (SELECT number, count(numbered.source) AS edges
                  FROM (SELECT number FROM task UNION ALL SELECT count(*)::integer + 1 FROM task) every
                  LEFT JOIN numbered ON numbered.target = number GROUP BY number) counted) summed)
    INTO ids, target, first_target, source, first_source;
    IF ids IS NULL THEN
        RETURN;
    END IF;
    task_count := cardinality(ids);
    waits_for := array_fill(0, ARRAY[task_count]);
    is_settled := array_fill(false, ARRAY[task_count]);
    is_cyclic := array_fill(false, ARRAY[task_count]);
    root_of_cycle := array_fill(false, ARRAY[task_count]);
    seen := array_fill(0, ARRAY[task_count]);
    seen_back := array_fill(0, ARRAY[task_count]);
    queue := array_fill(0, ARRAY[task_count]);

    -- Settle, from the roots on, every task all of whose sources are settled: what remains is in a
    -- cycle or behind one.
    queue_head := 1;
    queue_tail := 0;
    FOR n IN 1 .. task_count LOOP
        waits_for[n] := first_source[n + 1] - first_source[n];
        IF waits_for[n] = 0 THEN
            queue_tail := queue_tail + 1;
            queue[queue_tail] := n;
        END IF;
    END LOOP;
    WHILE queue_head <= queue_tail LOOP
        n := queue[queue_head];
        queue_head := queue_head + 1;
        is_settled[n] := true;
        FOR i IN first_target[n] .. first_target[n + 1] - 1 LOOP
            m := target[i];
            waits_for[m] := waits_for[m] - 1;
            IF waits_for[m] = 0 THEN
                queue_tail := queue_tail + 1;
                queue[queue_tail] := m;
            END IF;
        END LOOP;
    END LOOP;

    -- Two tasks are in one cycle when each leads to the other.
    IF queue_tail < task_count THEN
        FOR n IN 1 .. task_count LOOP
            CONTINUE WHEN is_settled[n] OR is_cyclic[n];
            queue[1] := n;
            queue_head := 1;
            queue_tail := 1;
            WHILE queue_head <= queue_tail LOOP
                at := queue[queue_head];
                queue_head := queue_head + 1;
                FOR i IN first_target[at] .. first_target[at + 1] - 1 LOOP
                    m := target[i];
                    IF seen[m] <> n THEN
                        seen[m] := n;
                        queue_tail := queue_tail + 1;
                        queue[queue_tail] := m;
                    END IF;
                END LOOP;
                EXIT WHEN queue_tail = task_count;
            END LOOP;
            CONTINUE WHEN seen[n] <> n;
            queue[1] := n;
            queue_head := 1;
            queue_tail := 1;
            seen_back[n] := n;
            root_of_cycle[n] := true;
            WHILE queue_head <= queue_tail LOOP
                at := queue[queue_head];
                queue_head := queue_head + 1;
                is_cyclic[at] := true;
                FOR i IN first_source[at] .. first_source[at + 1] - 1 LOOP
                    m := source[i];
                    IF seen[m] = n AND seen_back[m] <> n THEN
                        seen_back[m] := n;
                        queue_tail := queue_tail + 1;
                        queue[queue_tail] := m;
                    END IF;
                END LOOP;
            END LOOP;
        END LOOP;
    END IF;

    IF cycles_only THEN
        FOR n IN 1 .. task_count LOOP
            IF is_cyclic[n] THEN
                task_id := ids[n];
                in_cycle := true;
                RETURN NEXT;
            END IF;
        END LOOP;
        RETURN;
    END IF;

    is_reached := array_fill(false, ARRAY[task_count]);
    previous := array_fill(0, ARRAY[task_count]);
    depth_of := array_fill(0, ARRAY[task_count]);
    seen := array_fill(0, ARRAY[task_count]);
    FOREACH is_second_pass IN ARRAY ARRAY[false, true] LOOP
        FOR n IN 1 .. task_count LOOP
            IF is_second_pass THEN
                CONTINUE WHEN NOT root_of_cycle[n] OR is_reached[n];
            ELSE
                CONTINUE WHEN first_source[n + 1] > first_source[n];
            END IF;
            root_task_id := ids[n];
            queue[1] := n;
            queue_head := 1;
            queue_tail := 1;
            seen[n] := n;
            previous[n] := 0;
            depth_of[n] := 0;
            WHILE queue_head <= queue_tail LOOP
                at := queue[queue_head];
                queue_head := queue_head + 1;
                is_reached[at] := true;
                FOR i IN first_target[at] .. first_target[at + 1] - 1 LOOP
                    m := target[i];
                    IF seen[m] <> n THEN
                        seen[m] := n;
                        previous[m] := at;
                        depth_of[m] := depth_of[at] + 1;
                        queue_tail := queue_tail + 1;
                        queue[queue_tail] := m;
                    END IF;
                END LOOP;
                task_id := ids[at];
                depth := depth_of[at];
                in_cycle := is_cyclic[at];
                path := array_fill(root_task_id, ARRAY[depth + 1]);
                m := at;
                FOR i IN REVERSE depth + 1 .. 2 LOOP
                    path[i] := ids[m];
                    m := previous[m];
                END LOOP;
                RETURN NEXT;
            END LOOP;
        END LOOP;
    END LOOP;
END
$$;

-- Whether new dependencies lead only to tasks that this very transaction wrote and from which nothing
-- leads on. Whoever adds such need not wait for the turn (docs/decisions/0060), and leaves a trace instead.
--
-- A task's row that is locked FOR UPDATE can become nobody's parent, and one whose parenthood is not yet
-- committed cannot be locked so. So nothing leads on from such a child until this transaction has ended,
-- and no cycle goes through it. Other children are not locked so, for others would wait for them.
CREATE OR REPLACE FUNCTION is_end_of_dependencies(child_ids uuid[]) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    own_lane CONSTANT integer := pg_backend_pid() % 64;
    child_id uuid;
BEGIN
    -- Under the higher levels nobody sees what came after the snapshot.
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RETURN false;
    END IF;
    FOREACH child_id IN ARRAY child_ids LOOP
        PERFORM FROM tasks WHERE id = child_id AND xmin = pg_current_xact_id()::xid
        FOR UPDATE SKIP LOCKED;
        IF NOT FOUND THEN
            RETURN false;
        END IF;
    END LOOP;
    -- With a snapshot that is newer than the locks.
    PERFORM FROM task_dependencies
    WHERE parent_task_id = ANY (child_ids) AND dependency_type IN ('blocks', 'depends_on') LIMIT 1;
    IF FOUND THEN
        RETURN false;
    END IF;
    PERFORM FROM task_dependency_lanes WHERE lane = own_lane FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE task_dependency_lanes SET uses = uses + 1 WHERE lane = own_lane;
    RETURN true;
END
$$;

-- Refuses a dependency that closes a cycle: of tasks in a cycle none could ever begin. "related" says
-- nothing about order and is not looked at. The cycle stands in the message.
CREATE OR REPLACE FUNCTION refuse_dependency_cycle() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    ordering_types CONSTANT text[] := '{blocks,depends_on}';
    -- Beyond so many new dependencies at once, one walk over the whole graph is cheaper.
    few CONSTANT integer := 100;
    new_count integer;
    parent_ids uuid[];
    child_ids uuid[];
    suspects uuid[];
    edge record;
    came_from jsonb;
    frontier uuid[];
    step jsonb;
    at uuid;
    cycle uuid[];
BEGIN
    SELECT count(*), array_agg(DISTINCT parent_task_id), array_agg(DISTINCT child_task_id)
    INTO new_count, parent_ids, child_ids
    FROM new_rows WHERE dependency_type = ANY (ordering_types);
    IF new_count = 0 THEN
        RETURN NULL;
    END IF;
    -- The foreign key has done so for a new row, and does not for one of another type.
    IF TG_OP = 'UPDATE' THEN
        PERFORM FROM tasks WHERE id = ANY (parent_ids) ORDER BY id FOR KEY SHARE;
    END IF;
    IF new_count <= few AND is_end_of_dependencies(child_ids) THEN
        RETURN NULL;
    END IF;
    -- Whoever comes second waits here, and then sees what the first one added.
    UPDATE task_dependency_turn SET taken_by = pg_current_xact_id()::text::bigint
    WHERE taken_by <> pg_current_xact_id()::text::bigint;
    -- Under the higher levels it does not see it, and must fail instead: the turn has done so, and a lane
    -- does when it was used since the snapshot.
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        PERFORM FROM task_dependency_lanes ORDER BY lane FOR SHARE;
    END IF;

    IF new_count > few THEN
        SELECT coalesce(array_agg(task_id), '{}') INTO suspects
        FROM task_dependency_closure(ordering_types, cycles_only => true);
    END IF;
    FOR edge IN
        SELECT DISTINCT parent_task_id AS parent, child_task_id AS child
        FROM new_rows
        WHERE dependency_type = ANY (ordering_types)
          AND (suspects IS NULL OR parent_task_id = ANY (suspects) AND child_task_id = ANY (suspects))
    LOOP
        CONTINUE WHEN NOT EXISTS (
            WITH RECURSIVE behind AS (
                SELECT edge.child AS id
                UNION
                SELECT dependency.child_task_id
                FROM behind
                JOIN task_dependencies dependency ON dependency.parent_task_id = behind.id
                WHERE dependency.dependency_type = ANY (ordering_types)
            )
            SELECT FROM behind WHERE id = edge.parent);

        came_from := jsonb_build_object(edge.child, NULL);
        frontier := ARRAY[edge.child];
        WHILE NOT came_from ? edge.parent::text LOOP
            SELECT array_agg(child_task_id), jsonb_object_agg(child_task_id, parent_task_id)
            INTO STRICT frontier, step
            FROM (SELECT DISTINCT ON (child_task_id) child_task_id, parent_task_id
                  FROM task_dependencies
                  WHERE parent_task_id = ANY (frontier) AND dependency_type = ANY (ordering_types)
                    AND NOT came_from ? child_task_id::text) next_level;
            came_from := came_from || step;
        END LOOP;
        cycle := ARRAY[edge.parent];
        at := (came_from ->> edge.parent::text)::uuid;
        WHILE at IS NOT NULL LOOP
            cycle := at || cycle;
            at := (came_from ->> at::text)::uuid;
        END LOOP;
        RAISE EXCEPTION 'dependency cycle: %', array_to_string(edge.parent || cycle, ' -> ')
            USING ERRCODE = 'check_violation',
                  TABLE = 'task_dependencies',
                  CONSTRAINT = 'task_dependencies_no_cycle',
                  DETAIL = format('Each task would wait for the one before it: %s.',
                      (SELECT string_agg(quote_literal(title), ', ' ORDER BY place)
                       FROM unnest(cycle) WITH ORDINALITY link (id, place) JOIN tasks USING (id))),
                  HINT = 'Remove one of these dependencies first, or use the type "related".';
    END LOOP;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION get_task_statistics()
RETURNS TABLE (total bigint, pending bigint, in_progress bigint, completed bigint, failed bigint,
               cancelled bigint, completion_rate numeric, average_hours numeric,
               average_completion_seconds numeric, created_last_day bigint, completed_last_day bigint)
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT count(*),
           count(*) FILTER (WHERE status = 'pending'),
           count(*) FILTER (WHERE status = 'in_progress'),
           count(*) FILTER (WHERE status = 'completed'),
           count(*) FILTER (WHERE status = 'failed'),
           count(*) FILTER (WHERE status = 'cancelled'),
           -- Of the tasks that have come to an end.
           round(100.0 * count(*) FILTER (WHERE status = 'completed')
                 / nullif(count(*) FILTER (WHERE status IN ('completed', 'failed', 'cancelled')), 0), 2),
           round(avg(actual_hours), 2),
           round((extract(epoch FROM avg(completed_at - created_at)
                          FILTER (WHERE status = 'completed')))::numeric, 3),
           count(*) FILTER (WHERE created_at > now() - interval '1 day'),
           count(*) FILTER (WHERE status = 'completed' AND completed_at > now() - interval '1 day')
    FROM tasks
$$;

CREATE OR REPLACE FUNCTION get_deployment_statistics()
RETURNS TABLE (total bigint, pending bigint, running bigint, completed bigint, failed bigint,
               cancelled bigint, skipped bigint, success_rate numeric, average_duration_ms numeric,
               retried bigint, executed_last_day bigint)
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT count(*),
           count(*) FILTER (WHERE status = 'pending'),
           count(*) FILTER (WHERE status = 'running'),
           count(*) FILTER (WHERE status = 'completed'),
           count(*) FILTER (WHERE status = 'failed'),
           count(*) FILTER (WHERE status = 'cancelled'),
           count(*) FILTER (WHERE status = 'skipped'),
           round(100.0 * count(*) FILTER (WHERE status = 'completed')
                 / nullif(count(*) FILTER (WHERE status IN ('completed', 'failed')), 0), 2),
           round(avg(execution_duration_ms), 2),
           count(*) FILTER (WHERE retry_count > 0),
           count(*) FILTER (WHERE executed_at > now() - interval '1 day')
    FROM deployment_scripts
$$;

CREATE OR REPLACE FUNCTION get_error_statistics()
RETURNS TABLE (total bigint, unresolved bigint, critical bigint, last_hour bigint, last_day bigint,
               most_frequent_type varchar, average_resolution_seconds numeric)
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT count(*),
           count(*) FILTER (WHERE resolved IS NOT TRUE),
           count(*) FILTER (WHERE severity IN ('critical', 'fatal') AND resolved IS NOT TRUE),
           count(*) FILTER (WHERE created_at > now() - interval '1 hour'),
           count(*) FILTER (WHERE created_at > now() - interval '1 day'),
           mode() WITHIN GROUP (ORDER BY error_type),
           round((extract(epoch FROM avg(resolved_at - created_at) FILTER (WHERE resolved)))::numeric, 3)
    FROM error_logs
$$;
