/*-------------------------------------------------------------------------
 *
 * level.c
 *	  The feature level that the cluster works at (base/level.h).
 *
 * Workers say with each heartbeat what they know, drivers when they meet, and while
 * there is a higher level than the cluster's they go on saying so.  What was said is
 * kept in memory: a driver that begins to lead hears it again before it raises
 * anything.  A store that has never spoken to it holds the level where it is, since
 * nobody knows of what release it will come back; forgetting it lets go.
 *
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>

#include "base/log.h"
#include "service.h"

#define LOOK_US (1 * INT64_C(1000000))
#define SPOKEN_US (10 * INT64_C(1000000))	/* a driver that was heard within so long */

/* A small number that may not be there: 0. */
static uint32_t
small(json_t *body, const char *name)
{
	int64_t		value;

	return get_int(body, name, 0, UINT32_MAX, &value) ? (uint32_t) value : 0;
}

VtStatus
level_admits(Pd *pd, json_t *body, const char *who, VtError *err)
{
	return vt_level_check(who, small(body, "level_low"), small(body, "level_high"), catalog_level(pd->catalog), err);
}

/* name: "level_low" or "level_high"; whoever does not say it is of before there were levels. */
uint32_t
level_said(json_t *body, const char *name)
{
	uint32_t	level = small(body, name);

	return level ? level : VT_LEVEL_LOW;
}

void
level_heard(Pd *pd, uint64_t driver, uint32_t low, uint32_t high)
{
	DriverLevel *place = &pd->driver_levels[0];

	for (int i = 0; i < DRIVER_LEVELS; i++)
	{
		if (pd->driver_levels[i].driver == driver)
		{
			place = &pd->driver_levels[i];
			break;
		}
		if (pd->driver_levels[i].at_us < place->at_us)
			place = &pd->driver_levels[i];
	}
	*place = (DriverLevel) {driver, low, high, pd->now_us};
}

/* What a driver said a moment ago; NULL = nothing. */
static const DriverLevel *
said_by(const Pd *pd, uint64_t driver)
{
	for (int i = 0; i < DRIVER_LEVELS; i++)
		if (pd->driver_levels[i].driver == driver && pd->now_us - pd->driver_levels[i].at_us < SPOKEN_US)
			return &pd->driver_levels[i];
	return NULL;
}

/* What a driver knows, as it said a moment ago; 0 = it did not. */
static uint32_t
driver_level(const Pd *pd, uint64_t driver)
{
	const DriverLevel *said = said_by(pd, driver);

	return driver == pd->id ? vt_level_high() : said ? said->high : 0;
}

VtStatus
level_joins(const Pd *pd, uint64_t driver, VtError *err)
{
	return vt_level_check("the placement driver that waits there", VT_LEVEL_LOW, driver_level(pd, driver), catalog_level(pd->catalog), err);
}

uint32_t
level_of_store(Pd *pd, uint64_t store)
{
	const Beat *beat = beat_of(pd, store);

	return beat && beat->at_us >= pd->led_since_us ? beat->level_high : 0;
}

static void
show(json_t *row, uint32_t low, uint32_t high)
{
	json_object_set_new(row, "level_low", json_integer(low));
	json_object_set_new(row, "level_high", json_integer(high));
}

/* A member that is up and says nothing knows no higher level than the cluster's, but that. */
void
level_show_driver(const Pd *pd, uint64_t driver, bool is_up, json_t *row)
{
	const DriverLevel *said = said_by(pd, driver);

	if (driver == pd->id)
		show(row, VT_LEVEL_LOW, vt_level_high());
	else if (said)
		show(row, said->low, said->high);
	else if (is_up)
		json_object_set_new(row, "level_high", json_integer(catalog_level(pd->catalog)));
}

void
level_show_store(Pd *pd, uint64_t store, json_t *row)
{
	const Beat *beat = beat_of(pd, store);

	if (beat && beat->at_us >= pd->led_since_us)
		show(row, beat->level_low, beat->level_high);
}

uint32_t
level_held_by(Pd *pd, uint32_t level, char *out, size_t size)
{
	const Catalog *catalog = pd->catalog;
	uint32_t	known;

	out[0] = '\0';
	for (size_t i = 0; i < catalog->ndrivers; i++)
		if ((known = driver_level(pd, catalog->drivers[i]->id)) < level)
		{
			snprintf(out, size, "placement driver %" PRIu64 " at %s", catalog->drivers[i]->id, catalog->drivers[i]->endpoint);
			return known;
		}
	for (size_t i = 0; i < catalog->nstores; i++)
		if ((known = level_of_store(pd, catalog->stores[i]->id)) < level)
		{
			snprintf(out, size, "store %" PRIu64 " at %s", catalog->stores[i]->id, catalog->stores[i]->endpoint);
			return known;
		}
	return level;
}

static VtStatus
raise_to(Pd *pd, uint32_t level)
{
	Buf			command = {0};
	VtStatus	status;

	command_begin(&command);
	command_level(&command, level);
	status = pd->commit(pd, &command);
	if (status == VT_OK)
		log_info("the cluster works at feature level %u from now on", level);
	buf_free(&command);
	return status;
}

VtStatus
level_reach(Pd *pd, uint32_t level, VtError *err)
{
	VtStatus	status = VT_OK;

	while (status == VT_OK && catalog_level(pd->catalog) < level)
	{
		uint32_t	now = catalog_level(pd->catalog);
		char		held[200] = "this placement driver";
		uint32_t	known = vt_level_high();

		if (known > now)
			known = level_held_by(pd, now + 1, held, sizeof(held));
		if (known > now)
			status = raise_to(pd, now + 1);
		else if (known == 0)
			return vt_fail(err, VT_UNAVAILABLE, "this takes feature level %u, the cluster works at %u, and %s has not said yet what it knows",
						   level, now, held);
		else
			return vt_fail(err, VT_VERSION, "this takes feature level %u, and the cluster works at %u: %s does not know more",
						   level, now, held);
	}
	return status == VT_OK ? VT_OK : vt_fail(err, status, "the feature level could not be recorded");
}

void
levels_look(Pd *pd)
{
	uint32_t	next = catalog_level(pd->catalog) + 1;
	char		held[200];

	if (pd->now_us < pd->levels_due_us || !reports_are_in(pd))
		return;
	pd->levels_due_us = pd->now_us + LOOK_US;
	if (next > vt_level_high())
		return;
	level_held_by(pd, next, held, sizeof(held));
	if (held[0] == '\0')
		(void) raise_to(pd, next);
}
