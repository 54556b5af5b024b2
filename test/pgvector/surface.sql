-- What an extension gives to SQL, one line each: to compare two of them.
-- psql -v extension=NAME
\pset format unaligned
\pset tuples_only on
WITH members AS (
	SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
	WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = :'extension')
SELECT format('type %s storage %s length %s in %s category %s', t.oid::regtype, typstorage, typlen, typinput, typcategory)
	FROM pg_type t JOIN members ON objid = t.oid AND classid = 'pg_type'::regclass WHERE typtype = 'b' AND typcategory <> 'A'
UNION ALL
SELECT format('%s %s returns %s %s %s %s', CASE prokind WHEN 'a' THEN 'aggregate' ELSE 'function' END, p.oid::regprocedure, prorettype::regtype,
		CASE WHEN proisstrict THEN 'strict' END, provolatile, proparallel)
	FROM pg_proc p JOIN members ON objid = p.oid AND classid = 'pg_proc'::regclass
UNION ALL
SELECT format('transition %s by %s state %s final %s combine %s initial %s', aggfnoid::regprocedure, aggtransfn, aggtranstype::regtype, aggfinalfn, aggcombinefn, agginitval)
	FROM pg_aggregate JOIN members ON objid = aggfnoid AND classid = 'pg_proc'::regclass
UNION ALL
SELECT format('operator %s by %s commutator %s negator %s', o.oid::regoperator, oprcode::regprocedure, oprcom::regoperator, oprnegate::regoperator)
	FROM pg_operator o JOIN members ON objid = o.oid AND classid = 'pg_operator'::regclass
UNION ALL
SELECT format('cast %s as %s by %s %s', castsource::regtype, casttarget::regtype, castfunc::regprocedure, castcontext)
	FROM pg_cast c JOIN members ON objid = c.oid AND classid = 'pg_cast'::regclass
UNION ALL
SELECT format('access method %s', amname) FROM pg_am a JOIN members ON objid = a.oid AND classid = 'pg_am'::regclass
UNION ALL
SELECT format('operator class %s for %s using %s default %s orders by %s', opcname, opcintype::regtype, amname, opcdefault,
		(SELECT string_agg(amopopr::regoperator::text, ' ' ORDER BY amopstrategy) FROM pg_amop WHERE amopfamily = opcfamily))
	FROM pg_opclass c JOIN pg_am a ON a.oid = opcmethod JOIN members ON objid = c.oid AND classid = 'pg_opclass'::regclass
UNION ALL
SELECT format('setting %s is %s of %s to %s or %s, %s at first, %s', name, vartype, min_val, max_val, enumvals, boot_val, context)
	FROM pg_settings WHERE name ~ '^(hnsw|ivfflat)\.'
ORDER BY 1;
