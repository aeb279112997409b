-- Lets pgTAP do its work faster, with the same results. pgtap-runner runs this on its connections to
-- its copies of the tested database, unless --stock-pgtap is given. It answers whether the session
-- has pgTAP's counters.
--
-- What costs pgTAP most is statements that the server parses and plans anew each time: some five of
-- them to count a test, one or more to look into the catalog; and that each plan() creates a table
-- with its index and two sequences, which the file's ROLLBACK removes again.
DO $shortcuts$
DECLARE
  -- Of the functions that count, as pgTAP 1.2 and 1.3 have them. Others are left alone.
  known_sources constant text := '1cd4f4252ffda7d2d1f0c139292e441872182fffb0d121740b63d316c7fe3dce';
  pgtap oid;
  shortened boolean;
  stock record;
BEGIN
  SELECT p.pronamespace, strpos(p.prosrc, 'pgtap_runner_') > 0 INTO pgtap, shortened
    FROM pg_proc p
   WHERE p.proname = 'ok' AND p.proargtypes = '16 25'::oidvector
   ORDER BY p.oid LIMIT 1;

  -- Where somebody watches definitions, these would be seen, and a test may ask what was seen.
  IF pgtap IS NULL OR EXISTS (
    SELECT FROM pg_event_trigger
     WHERE evtenabled <> 'D' AND evtevent IN ('ddl_command_start', 'ddl_command_end'))
  THEN RETURN;
  END IF;

  IF NOT shortened THEN
    IF known_sources IS DISTINCT FROM (
      SELECT encode(sha256(convert_to(string_agg(p.prosrc, ''
               ORDER BY p.proname COLLATE "C", p.proargtypes::text COLLATE "C"), 'UTF8')), 'hex')
        FROM pg_proc p
       WHERE p.pronamespace = pgtap
         AND p.proname IN ('plan', 'ok', 'add_result', '_todo', '_get', '_get_latest', '_set', '_add'))
    THEN RETURN;
    END IF;
    -- pgTAP was checked when it was installed.
    PERFORM set_config('check_function_bodies', 'off', true);

    -- A test that passed outside of a TODO is counted by statements that stay planned. Everything
    -- else goes on to pgTAP's own code, which follows as it was.
    FOR stock IN
      SELECT p.prosrc AS source, pg_get_functiondef(p.oid) AS definition,
             CASE p.proname WHEN 'ok' THEN $shortcut$
DECLARE
  pgtap_runner_plan integer;
  pgtap_runner_todo integer;
  pgtap_runner_test integer;
BEGIN
  IF $1 AND to_regclass('__tcache__') IS NOT NULL THEN
    SELECT (SELECT c.id FROM __tcache__ c WHERE c.label = 'plan' ORDER BY c.id DESC LIMIT 1),
           (SELECT c.id FROM __tcache__ c WHERE c.label = 'todo' ORDER BY c.id DESC LIMIT 1)
      INTO pgtap_runner_plan, pgtap_runner_todo;
    IF pgtap_runner_plan IS NOT NULL AND pgtap_runner_todo IS NULL THEN
      pgtap_runner_test := nextval('__tresults___numb_seq');
      INSERT INTO __tcache__ (label, value) VALUES ('curr_test', pgtap_runner_test);
      RETURN 'ok ' || pgtap_runner_test || coalesce(' - ' || substr(diag(nullif($2, '')), 3), '');
    END IF;
  END IF;
END;
$shortcut$
             ELSE $shortcut$
  -- The newest: 'curr_test' gets a row for each test, not one that is updated.
  RETURN (SELECT c.value FROM __tcache__ c WHERE c.label = $1 ORDER BY c.id DESC LIMIT 1);
$shortcut$ END AS shortcut
        FROM pg_proc p
       WHERE p.pronamespace = pgtap
         AND (p.proname = 'ok' AND p.proargtypes = '16 25'::oidvector
           OR p.proname = '_get' AND p.proargtypes = '25'::oidvector)
    LOOP
      EXECUTE replace(stock.definition, stock.source,
        overlay(stock.source PLACING 'BEGIN' || stock.shortcut
          FROM strpos(stock.source, 'BEGIN') FOR length('BEGIN')));
    END LOOP;

    -- What has_table() and its like ask the catalog, as an expression of PL/pgSQL: that stays
    -- planned, the body of an SQL function does not.
    FOR stock IN
      SELECT p.prosrc AS source, pg_get_functiondef(p.oid) AS definition
        FROM pg_proc p
        JOIN pg_language l ON l.oid = p.prolang
        JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
        JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid
       WHERE e.extname = 'pgtap' AND l.lanname = 'sql' AND p.prorettype = 'boolean'::regtype
         AND NOT p.proretset AND p.proargnames IS NULL
         AND p.prosrc ~* '^[[:space:]]*SELECT[[:space:]]+EXISTS[[:space:]]*[(][^;]*[)][[:space:]]*;?[[:space:]]*$'
    LOOP
      EXECUTE replace(replace(stock.definition, 'LANGUAGE sql', 'LANGUAGE plpgsql'), stock.source,
        'BEGIN RETURN (' || replace(stock.source, ';', '') || chr(10) || '); END');
    END LOOP;
  END IF;

  -- In the session: what plan() would create. It takes what is there, if that holds no plan.
  CREATE TEMP SEQUENCE __tcache___id_seq;
  CREATE TEMP TABLE __tcache__ (
    id integer NOT NULL DEFAULT nextval('__tcache___id_seq'),
    label text NOT NULL,
    value integer NOT NULL,
    note text NOT NULL DEFAULT ''
  );
  CREATE UNIQUE INDEX __tcache___key ON __tcache__ (id);
  CREATE INDEX __tcache___newest ON __tcache__ (label, id);
  CREATE TEMP SEQUENCE __tresults___numb_seq;
  GRANT ALL ON __tcache__, __tcache___id_seq, __tresults___numb_seq TO PUBLIC;
EXCEPTION WHEN insufficient_privilege THEN
  -- pgTAP belongs to somebody else, or temporary tables are forbidden.
  NULL;
END $shortcuts$;
SELECT to_regclass('pg_temp.__tresults___numb_seq') IS NOT NULL;
