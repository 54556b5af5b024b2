SELECT '[1,2]'::vector <-> '[4,6]', '[1,2]'::vector <#> '[3,4]', '[1,0]'::vector <=> '[0,1]', '[1,2]'::vector <+> '[4,6]';
SELECT '[1,2]'::vector <-> '[1]';
SELECT '[1,2,3]'::vector + '[4,5,6]', '[1,2,3]'::vector - '[4,5,7]', '[1,2,3]'::vector * '[4,5,6]', '[1,2]'::vector || '[3]';
SELECT '[3e38]'::vector + '[3e38]';
SELECT '[3e38]'::vector - '[-3e38]';
SELECT '[1e37]'::vector * '[1e37]';
SELECT '[1e-37]'::vector * '[1e-37]';
SELECT '[1,2]'::vector + '[1]';
SELECT '[1,2]'::vector - '[1]';
SELECT '[1,2]'::vector * '[1]';
SELECT ('[' || repeat('0,', 15999) || '0]')::vector || '[1]';
SELECT '[1,2]'::vector < '[1,3]', '[1,2]'::vector < '[1,2]', '[1,2]'::vector < '[1]', '[1]'::vector < '[1,2]';
SELECT '[1,2]'::vector <= '[1,2]', '[1,2]'::vector >= '[1,3]', '[1,2]'::vector > '[1]', '[0]'::vector = '[-0]';
SELECT '[1,2]'::vector = '[1,2]', '[1,2]'::vector = '[1,2,3]', '[1,2]'::vector <> '[1,2]', '[1,2]'::vector <> '[2,1]';
SELECT vector_cmp('[1,2]', '[1,2]'), vector_cmp('[1,2]', '[1,3]'), vector_cmp('[1,2]', '[1]'), vector_cmp('[1]', '[1,2]');
SELECT '[1,2]'::vector <#> '[1]';
SELECT '[1,2]'::vector <=> '[1]';
SELECT '[1,2]'::vector <+> '[1]';
-- SQLSTATEs
\set VERBOSITY sqlstate
SELECT '[1,2]'::vector <-> '[1]';
SELECT '[1,2]'::vector + '[1]';
SELECT '[3e38]'::vector + '[3e38]';
SELECT '[-3e38]'::vector - '[3e38]';
SELECT '[1e37]'::vector * '[1e37]';
SELECT '[1e-37]'::vector * '[-1e-37]';
SELECT ('[' || repeat('0,', 15999) || '0]')::vector || '[1]';
\set VERBOSITY default
SELECT '[0,1e-37]'::vector * '[1e-37,0]', '[1e-45]'::vector * '[1]', '[3e38]'::vector + '[-3e38]';
SELECT '[1]'::vector <-> NULL, NULL::vector + '[1]', '[1]'::vector || NULL, '[1]'::vector = NULL;
-- an array is no vector, nor the reverse, until it is cast to one
SELECT '[1,2]'::vector <-> ARRAY[1,2];
SELECT ARRAY[3]::real[] || '[1,2]'::vector;
SELECT ARRAY[1,2]::real[] = '[1,2]'::vector;
SELECT ARRAY[1,2]::real[] = '[1,2]'::vector::real[], ARRAY[1,2]::vector <-> '[1,2]';
-- an unknown literal or parameter resolves to vector
PREPARE p AS SELECT $1 <-> '[1,2]'::vector;
EXECUTE p('[1,1]');
SELECT oprname, oprcom <> 0 AS commutes, oprnegate <> 0 AS negates, oprrest, oprjoin FROM pg_operator
	WHERE oprleft = 'vector'::regtype ORDER BY oprname;
SELECT o.oprname, c.oprname AS commutator, n.oprname AS negator FROM pg_operator o
	LEFT JOIN pg_operator c ON c.oid = o.oprcom LEFT JOIN pg_operator n ON n.oid = o.oprnegate
	WHERE o.oprleft = 'vector'::regtype AND o.oprcom <> 0 ORDER BY 1;
