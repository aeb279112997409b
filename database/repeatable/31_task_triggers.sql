-- The triggers that keep updated_at, completed_at and the dependency graph right.
--
-- A change of this file locks a table only where a trigger is missing or of another making.

DO $$
DECLARE
    wanted record;
    found record;
BEGIN
    CREATE TEMPORARY TABLE wanted_trigger (table_name text, name text, definition text) ON COMMIT DROP;
    INSERT INTO wanted_trigger
    SELECT name, format('update_%s_updated_at', name),
           format('BEFORE UPDATE ON public.%I FOR EACH ROW %s EXECUTE FUNCTION update_updated_at_column()',
                  name,
                  -- Its use does not change a key.
                  CASE name WHEN 'api_keys' THEN
                      'WHEN ((new.last_used_at IS NOT DISTINCT FROM old.last_used_at)'
                      ' AND (new.usage_count IS NOT DISTINCT FROM old.usage_count))' ELSE '' END)
    FROM unnest('{tasks,task_contexts,deployment_scripts,api_keys,configuration_settings}'::text[]) name;
    INSERT INTO wanted_trigger VALUES
        ('tasks', 'keep_tasks_completed_at',
         'BEFORE INSERT OR UPDATE OF status, completed_at ON public.tasks'
         ' FOR EACH ROW EXECUTE FUNCTION keep_completed_at()'),
        ('task_dependencies', 'refuse_task_dependencies_cycle_insert',
         'AFTER INSERT ON public.task_dependencies REFERENCING NEW TABLE AS new_rows'
         ' FOR EACH STATEMENT EXECUTE FUNCTION refuse_dependency_cycle()'),
        ('task_dependencies', 'refuse_task_dependencies_cycle_update',
         'AFTER UPDATE ON public.task_dependencies REFERENCING NEW TABLE AS new_rows'
         ' FOR EACH STATEMENT EXECUTE FUNCTION refuse_dependency_cycle()');

    -- The same work under a name of somebody else's would be done twice.
    FOR found IN
        SELECT tgrelid::regclass AS table_name, tgname AS name
        FROM pg_trigger
        WHERE tgfoid = 'update_updated_at_column'::regproc AND NOT tgisinternal
          AND NOT EXISTS (SELECT FROM wanted_trigger
                          WHERE name = tgname AND format('public.%I', table_name)::regclass = tgrelid
                            AND (tgqual IS NULL) = (definition NOT LIKE '% WHEN %'))
    LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', found.name, found.table_name);
    END LOOP;
    FOR wanted IN
        SELECT * FROM wanted_trigger
        WHERE NOT EXISTS (SELECT FROM pg_trigger
                          WHERE tgname = name AND tgrelid = format('public.%I', table_name)::regclass)
    LOOP
        EXECUTE format('CREATE TRIGGER %I %s', wanted.name, wanted.definition);
    END LOOP;
END
$$;
