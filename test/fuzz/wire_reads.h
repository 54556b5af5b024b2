/*-------------------------------------------------------------------------
 *
 * wire_reads.h
 *	  Samples of reads, of what they find, and of conditions (wire_messages.h).
 *
 *-------------------------------------------------------------------------
 */
#ifndef WIRE_READS_H
#define WIRE_READS_H

#include "wire_samples.h"

/* -- Attributes ------------------------------------------------------------ */

static inline void
sample_attributes(Buf *out)
{
	WireAttributes attributes = {.n = 3, .nulls = 2, .value = {-5, 0, INT64_MAX}};

	wire_attributes_put(out, &attributes);
}

static inline VtStatus
recode_attributes(Bytes in, Buf *out)
{
	WireAttributes attributes;
	VtStatus	status = wire_attributes_get(in, in.len > 1 ? in.data[1] % (WIRE_ATTRIBUTES_MAX + 1) : 1, &attributes);

	if (status == VT_OK)
		wire_attributes_put(out, &attributes);
	return status;
}

/* One of each kind of clause. */
static inline void
sample_predicate(Buf *out)
{
	static const int64_t some[] = {INT64_MIN, -1, 7};
	const WireClause clauses[] = {
		{.attribute = 0, .op = WIRE_CLAUSE_IN, .nvalues = 3, .values = some},
		{.attribute = 0, .op = WIRE_CLAUSE_NOT_IN, .nvalues = 1, .values = some + 1},
		{.attribute = 2, .op = WIRE_CLAUSE_BETWEEN, .lo = -10, .hi = INT64_MAX},
		{.attribute = 1, .op = WIRE_CLAUSE_IS_NULL},
		{.attribute = 1, .op = WIRE_CLAUSE_NOT_NULL},
		{.attribute = 1, .op = WIRE_CLAUSE_IN},
	};
	size_t		begin = wire_predicate_begin(out);

	for (size_t i = 0; i < sizeof(clauses) / sizeof(clauses[0]); i++)
		wire_clause_put(out, &clauses[i]);
	wire_predicate_end(out, begin, sizeof(clauses) / sizeof(clauses[0]));
}

static const uint8_t sample_kinds[3] = {WIRE_ATTR_ORDERED, WIRE_ATTR_HASHED, WIRE_ATTR_ORDERED};

static inline VtStatus
recode_predicate(Bytes in, Buf *out)
{
	WirePredicate predicate;
	VtStatus	status = wire_predicate_get(in, sample_kinds, 3, &predicate, NULL);
	size_t		begin;

	if (status != VT_OK)
		return status;
	begin = wire_predicate_begin(out);
	for (uint32_t i = 0; i < predicate.nclauses; i++)
	{
		WireClause	clause = predicate.clauses[i];
		int64_t    *values = vt_alloc(sizeof(int64_t) * (clause.nvalues + 1));

		for (uint32_t k = 0; k < clause.nvalues; k++)
			values[k] = wire_clause_value(&clause, k);
		clause.values = values;
		wire_clause_put(out, &clause);
		free(values);
	}
	wire_predicate_end(out, begin, predicate.nclauses);
	return status;
}

/* -- Reads ----------------------------------------------------------------- */

static inline void
sample_search(Buf *out)
{
	WireSearch	search = {.route = sample_route(), .consistency = WIRE_AT_MARK, .mark = 55,
		.flags = SEARCH_EXACT, .k = 10, .ef = 100, .lease = 0, .route_version = 4, .nexcluded = 2,
		.dim = 3, .vector = (const uint8_t *) sample_vector};
	Buf			ids = {0};

	wire_id_put(&ids, bytes_str("name"));
	wire_id_put(&ids, bytes_str("other"));
	search.excluded = buf_bytes(&ids);
	wire_search_put(out, &search);
	buf_free(&ids);
}

static inline void
sample_search_filter(Buf *out)
{
	WireSearch	search = {.route = sample_route(), .consistency = WIRE_EVENTUAL, .k = 10, .ef = 100,
		.route_version = 4, .dim = 3, .vector = (const uint8_t *) sample_vector};
	Buf			filter = {0};

	sample_predicate(&filter);
	search.filter = buf_bytes(&filter);
	wire_search_put(out, &search);
	buf_free(&filter);
}

static inline void
sample_search_many(Buf *out)
{
	static const float vectors[6] = {1.0f, -2.5f, 0.0f, 3.0f, 0.25f, -1.0f};
	WireSearch	search = {.route = sample_route(), .consistency = WIRE_AT_MARK, .mark = 55,
		.flags = SEARCH_ONCE | SEARCH_MANY, .k = 10, .ef = 100, .nqueries = 2, .route_version = 4, .dim = 3,
		.vector = (const uint8_t *) vectors};

	wire_search_put(out, &search);
}

static inline void
sample_search_bits(Buf *out)
{
	WireSearch	search = {.route = sample_route(), .consistency = WIRE_EVENTUAL, .flags = SEARCH_ONCE | SEARCH_BITS, .k = 10,
		.ef = 100, .route_version = 4, .dim = 19, .vector = sample_bits};

	wire_search_put(out, &search);
}

static inline VtStatus
recode_search(Bytes in, Buf *out)
{
	WireSearch	search;
	Buf			ids = {0};
	Bytes		id;
	size_t		at = 0;
	VtStatus	status = wire_search_get(in, &search, NULL);

	if (status != VT_OK)
		return status;
	while (wire_id_next(search.excluded, &at, &id))
		wire_id_put(&ids, id);
	search.excluded = buf_bytes(&ids);
	wire_search_put(out, &search);
	buf_free(&ids);
	return status;
}

static inline void
sample_search_result(Buf *out)
{
	WireSearchResult result = {.lease = 8, .exhausted = 0, .exact = 1, .distances = 2000, .hops = 40,
		.leader = 1, .waiting = 3};
	size_t		begin = wire_search_result_begin(out, &result);
	WireHit		hit = {0.5, 77, bytes_str("name")};

	wire_hit_put(out, &hit);
	hit.distance = 1.25;
	hit.id = bytes_str("other");
	wire_hit_put(out, &hit);
	wire_search_result_end(out, begin, 2);
}

static inline VtStatus
recode_search_result(Bytes in, Buf *out)
{
	WireSearchResult result;
	WireHit		hit;
	size_t		at = 0;
	size_t		begin;
	uint32_t	n = 0;
	VtStatus	status = wire_search_result_get(in, &result);

	if (status != VT_OK)
		return status;
	begin = wire_search_result_begin(out, &result);
	while (wire_hit_next(&result, &at, &hit))
	{
		wire_hit_put(out, &hit);
		n++;
	}
	wire_search_result_end(out, begin, n);
	return status;
}

/* What two queries of one search found: something, and nothing. */
static inline void
sample_search_results(Buf *out)
{
	WireSearchResult nothing = {.exhausted = 1, .exact = 1, .leader = 1};
	Buf			first = {0};
	Buf			second = {0};

	sample_search_result(&first);
	wire_search_result_end(&second, wire_search_result_begin(&second, &nothing), 0);
	wire_search_results_put(out, (Bytes[]) {buf_bytes(&first), buf_bytes(&second)}, 2);
	buf_free(&first);
	buf_free(&second);
}

static inline VtStatus
recode_search_results(Bytes in, Buf *out)
{
	WireSearchResult results[2];
	Cursor		c = cursor_of(in);
	Buf			each[2] = {{0}, {0}};
	VtStatus	status = wire_search_results_get(in, results, 2);

	(void) cursor_u32(&c);
	for (int i = 0; i < 2 && status == VT_OK; i++)
		status = recode_search_result(cursor_string(&c), &each[i]);
	if (status == VT_OK)
		wire_search_results_put(out, (Bytes[]) {buf_bytes(&each[0]), buf_bytes(&each[1])}, 2);
	buf_free(&each[0]);
	buf_free(&each[1]);
	return status;
}

static inline void
sample_list(Buf *out)
{
	WireList	list = {sample_route(), 55, 6, LIST_VECTORS, 1 << 20};

	wire_list_put(out, &list);
}

static inline void
sample_list_asks(Buf *out)
{
	WireList	list = {sample_route(), 55, 0, LIST_VECTORS | LIST_METADATA, 1 << 20};

	wire_list_put(out, &list);
}

static inline VtStatus
recode_list(Bytes in, Buf *out)
{
	WireList	list;
	VtStatus	status = wire_list_get(in, &list, NULL);

	if (status == VT_OK)
		wire_list_put(out, &list);
	return status;
}

static inline void
sample_list_result(Buf *out)
{
	WireListResult result = {.lease = 6, .last = 1, .total = 1002};
	size_t		begin = wire_list_result_begin(out, &result);
	WireListItem item = {.id = bytes_str("name"), .version = 77, .dim = 3, .vector = (const uint8_t *) sample_vector};

	wire_list_item_put(out, &result, &item);
	item.dim = 0;
	wire_list_item_put(out, &result, &item);
	wire_list_result_end(out, begin, 2);
}

static inline void
sample_list_attributes(Buf *out)
{
	WireListResult result = {.lease = 6, .attributes = true};
	size_t		begin = wire_list_result_begin(out, &result);
	WireListItem item = {.id = bytes_str("name"), .version = 77, .dim = 3, .vector = (const uint8_t *) sample_vector};
	Buf			attributes = {0};

	sample_attributes(&attributes);
	item.attributes = buf_bytes(&attributes);
	wire_list_item_put(out, &result, &item);
	wire_list_result_end(out, begin, 1);
	buf_free(&attributes);
}

static inline void
sample_list_bits(Buf *out)
{
	WireListResult result = {.lease = 6, .bits = true};
	size_t		begin = wire_list_result_begin(out, &result);
	WireListItem item = {.id = bytes_str("name"), .version = 77, .dim = 19, .vector = sample_bits};

	wire_list_item_put(out, &result, &item);
	wire_list_result_end(out, begin, 1);
}

/* Without vectors, and of one that has none. */
static inline void
sample_list_metadata(Buf *out)
{
	WireListResult result = {.lease = 6, .metadata = true};
	size_t		begin = wire_list_result_begin(out, &result);
	WireListItem item = {.id = bytes_str("name"), .version = 77, .metadata = bytes_str("{\"a\": 1}")};

	wire_list_item_put(out, &result, &item);
	item.id = bytes_str("another");
	item.metadata = bytes_of(NULL, 0);
	wire_list_item_put(out, &result, &item);
	wire_list_result_end(out, begin, 2);
}

/* With everything that an item can have. */
static inline void
sample_list_all(Buf *out)
{
	WireListResult result = {.last = 1, .attributes = true, .bits = true, .metadata = true, .total = 1};
	size_t		begin = wire_list_result_begin(out, &result);
	WireListItem item = {.id = bytes_str("name"), .version = 77, .dim = 19, .vector = sample_bits, .metadata = bytes_str("{}")};
	Buf			attributes = {0};

	sample_attributes(&attributes);
	item.attributes = buf_bytes(&attributes);
	wire_list_item_put(out, &result, &item);
	wire_list_result_end(out, begin, 1);
	buf_free(&attributes);
}

static inline VtStatus
recode_list_result(Bytes in, Buf *out)
{
	WireListResult result;
	WireListItem item;
	size_t		at = 0;
	size_t		begin;
	uint32_t	n = 0;
	VtStatus	status = wire_list_result_get(in, &result);

	if (status != VT_OK)
		return status;
	begin = wire_list_result_begin(out, &result);
	while (wire_list_item_next(&result, &at, &item))
	{
		wire_list_item_put(out, &result, &item);
		n++;
	}
	wire_list_result_end(out, begin, n);
	return status;
}

static inline void
sample_read(Buf *out)
{
	WireRead	read = {sample_route()};

	wire_read_put(out, &read);
}

static inline VtStatus
recode_read(Bytes in, Buf *out)
{
	WireRead	read;
	VtStatus	status = wire_read_get(in, &read, NULL);

	if (status == VT_OK)
		wire_read_put(out, &read);
	return status;
}

static inline void
sample_read_result(Buf *out)
{
	WireReadResult result = {60000, 12, 0x15D7A08};

	wire_read_result_put(out, &result);
}

static inline VtStatus
recode_read_result(Bytes in, Buf *out)
{
	WireReadResult result;
	VtStatus	status = wire_read_result_get(in, &result);

	if (status == VT_OK)
		wire_read_result_put(out, &result);
	return status;
}

#endif							/* WIRE_READS_H */
