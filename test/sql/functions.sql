SELECT l2_distance('[0,0]'::vector, '[3,4]'), l2_distance('[0,0]'::vector, '[0,1]');
SELECT l2_distance('[1,2]'::vector, '[3]');
SELECT l2_distance('[3e38]'::vector, '[-3e38]');
SELECT inner_product('[1,2]'::vector, '[3,4]'), inner_product('[1]'::vector, '[2,3]');
SELECT inner_product('[1,2]'::vector, '[3,4]');
SELECT cosine_distance('[1,2]'::vector, '[2,4]'), cosine_distance('[1,1]'::vector, '[1,-1]'),
	cosine_distance('[1,0]'::vector, '[-1,0]');
SELECT cosine_distance('[1,2]'::vector, '[0,0]'), cosine_distance('[0,0]'::vector, '[0,0]');
SELECT cosine_distance('[1,2]'::vector, '[3]');
SELECT l1_distance('[0,0]'::vector, '[3,4]'), l1_distance('[0,0]'::vector, '[-3,0]');
SELECT l1_distance('[1]'::vector, '[1,2]');
SELECT vector_l2_squared_distance('[0,0]', '[3,4]'), vector_negative_inner_product('[1,2]', '[3,4]');
SELECT vector_spherical_distance('[1,0]', '[0,1]'), vector_spherical_distance('[1,0]', '[1,0]'),
	vector_spherical_distance('[2,0]', '[-2,0]');
SELECT vector_dims('[1,2,3]'::vector), vector_norm('[3,4]'), vector_norm('[0,0]'), vector_norm('[3e37,4e37]')::real;
SELECT l2_normalize('[3,4]'::vector), l2_normalize('[0,0]'::vector), l2_normalize('[3e38]'::vector);
SELECT binary_quantize('[1,0,-1,2,-0.5,3,4,5,6]'::vector);
SELECT subvector('[1,2,3,4,5]'::vector, 1, 3), subvector('[1,2,3,4,5]'::vector, 3, 2),
	subvector('[1,2,3,4,5]'::vector, -1, 3), subvector('[1,2,3,4,5]'::vector, 3, 2147483647),
	subvector('[1,2,3,4,5]'::vector, -2147483644, 2147483647);
SELECT subvector('[1,2,3]'::vector, 1, 0);
SELECT subvector('[1,2,3]'::vector, 4, 1);
SELECT subvector('[1,2,3]'::vector, -1, 2);
SELECT subvector('[1,2,3]'::vector, 1, -1);
SELECT subvector('[1,2,3]'::vector, 2147483647, 2147483647);
SELECT l2_distance(NULL::vector, '[1]'), vector_dims(NULL::vector);
-- sums leave the range of float4, values do not: the result says so
SELECT inner_product('[3e38,3e38]'::vector, '[3e38,-3e38]'), cosine_distance('[3e38]'::vector, '[3e38]'),
	l1_distance('[3e38,3e38]'::vector, '[-3e38,3e38]');
SELECT l2_distance('[1e-30]'::vector, '[2e-30]'), vector_norm('[1e-30]')::real, l2_normalize('[1e-45,1e-45]'::vector);
-- the same sums in any position: lanes, tails, and whole blocks
SELECT n, l2_distance(a, b) = sqrt(vector_l2_squared_distance(a, b)), vector_l2_squared_distance(a, b), inner_product(a, b), l1_distance(a, b)
	FROM unnest(ARRAY[1, 7, 8, 9, 15, 16, 17, 31, 33, 100, 784]) n,
	LATERAL (SELECT array_agg(i % 5)::vector a, array_agg(i % 3)::vector b FROM generate_series(1, n) i) t ORDER BY n;
SELECT length(binary_quantize(array_fill(1::real, ARRAY[16000])::vector)), binary_quantize('[-0]'::vector), binary_quantize('[1e-45]'::vector);
SELECT pg_typeof(binary_quantize('[1]'::vector)), binary_quantize('[1,-1,1]'::vector)::bit(3) # B'111';
-- every argument is needed
SELECT inner_product(NULL, '[1]'::vector), cosine_distance('[1]'::vector, NULL), l1_distance(NULL::vector, NULL), vector_norm(NULL),
	l2_normalize(NULL::vector), binary_quantize(NULL::vector), subvector('[1]'::vector, NULL, 1), vector_cmp('[1]', NULL);
-- SQLSTATEs
\set VERBOSITY sqlstate
SELECT l2_distance('[1,2]'::vector, '[3]');
SELECT vector_l2_squared_distance('[1,2]', '[3]');
SELECT vector_negative_inner_product('[1,2]', '[3]');
SELECT vector_spherical_distance('[1,2]', '[3]');
SELECT subvector('[1,2,3]'::vector, 4, 1);
\set VERBOSITY default
SELECT proname FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.deptype = 'e'
	JOIN pg_extension e ON e.oid = d.refobjid AND extname = 'vectron'
	WHERE prokind = 'f' AND p.pronamespace = 'public'::regnamespace
	AND (provolatile, proisstrict, proparallel) <> ('i', true, 's')
	AND prorettype <> 'index_am_handler'::regtype;
