# Vectron: every target a person needs.  `make help` lists them.
#
# Modules are built into static libraries under $(BUILD); programs, tests and
# the extension link only what the arrow map in src/README.md allows.  PGXS
# forbids a target named check, so the extension's own makefile is
# src/pg/pgxs.mk, run from here.

BUILD ?= build
CC = gcc
PG_CONFIG ?= pg_config
SANITIZE ?=
CFLAGS ?= -O2 -g
WARN = -Wall -Wextra -Wmissing-prototypes -Wstrict-prototypes -Wpointer-arith -Wvla \
	-Wshadow=local -Wformat=2 -Werror
VT_CFLAGS = -std=gnu11 $(CFLAGS) -fPIC -fvisibility=hidden -ffp-contract=off -fno-strict-aliasing \
	$(WARN) -Isrc -MMD -MP $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer) $(DEFINES)
VT_LDFLAGS = $(if $(SANITIZE),-fsanitize=$(SANITIZE)) -pthread

# Modules, and what a program that uses one must link, in link order.
MODULES = base vec hnsw raft store wire net http replica client
LIBS_base = base
LIBS_vec = vec base
LIBS_hnsw = hnsw vec base
LIBS_raft = raft base
LIBS_store = store base
LIBS_wire = wire base
LIBS_net = net wire base
LIBS_http = http base
LIBS_client = client wire vec base
LIBS_shares = client hnsw vec base
LIBS_replica = replica net wire raft store base
LIBS_door = client $(LIBS_worker)
LIBS_worker = worker_parts http hnsw vec replica net wire raft store base
LIBS_pg = $(LIBS_client)
LIBS_pages = client $(LIBS_pd)
LIBS_pd = pd_parts http replica net wire raft store base
HTTP_LIBS = -lmicrohttpd
# LevelDB from its archive: src/store/crc.c stands in for its checksums.  What it needs is there with its shared library.
LEVELDB_LIBS = -l:libleveldb.a -l:libsnappy.so.1 -l:libstdc++.so.6 -lisal
SYS_LIBS = $(LEVELDB_LIBS) -lnng -ljansson -lssl -lcrypto -lxxhash -lzstd -lm

percent = %
lib = $(BUILD)/lib$(1).a
objects = $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard src/$(1)/*.c))
present = $(foreach m,$(1),$(if $(wildcard src/$(patsubst %_parts,%,$(m))/*.c),$(call lib,$(m))))
# A test links the libraries of the module its name begins with.
test_module = $(firstword $(subst _, ,$(notdir $(1))))

PROGRAMS = $(if $(wildcard src/worker/main.c),$(BUILD)/vectron-worker) \
	$(if $(wildcard src/pd/main.c),$(BUILD)/vectron-pd) \
	$(if $(wildcard src/ctl/main.c),$(BUILD)/vectronctl)

.PHONY: all help programs extension install install-alias uninstall clean check check-quick check-long check-bare \
	check-sim check-shards check-pdsim check-pgvector check-chaos chaos-programs coverage valgrind fuzz demo bench bench-sql bench-start lint fmt unit sim asan tsan $(MODULES:%=lib%)

all: programs extension

help:
	@sed -n 's/^## //p' Makefile

## make                 extension and daemons, into build/
programs: $(foreach m,$(MODULES),$(call present,$(m))) $(PROGRAMS)

extension: $(foreach m,base vec wire client,$(call present,$(m)))
	$(if $(wildcard src/pg/pgxs.mk),$(MAKE) -f src/pg/pgxs.mk BUILD=$(BUILD) PG_CONFIG=$(PG_CONFIG))

## make install         the extension by PGXS, the daemons beside PostgreSQL's programs
install: all
	$(MAKE) -f src/pg/pgxs.mk BUILD=$(BUILD) PG_CONFIG=$(PG_CONFIG) install
	for p in $(PROGRAMS); do install -D -m 755 $$p "$(DESTDIR)$$($(PG_CONFIG) --bindir)/$$(basename $$p)" || exit 1; done
	install -D -m 644 docs/cluster.md "$(DESTDIR)$$($(PG_CONFIG) --docdir)/vectron/cluster.md"

## make install-alias   an extension "vector" that asks for vectron, where pgvector is not installed
install-alias:
	@dir="$(DESTDIR)$$($(PG_CONFIG) --sharedir)/extension"; \
	if [ -f "$$dir/vector.control" ] && ! cmp -s sql/alias/vector.control "$$dir/vector.control"; then \
		echo "$$dir/vector.control is pgvector's: an alias cannot stand beside it" >&2; exit 1; fi; \
	install -D -m 644 -t "$$dir" sql/alias/vector.control sql/alias/vector--0.8.6.sql

uninstall:
	$(MAKE) -f src/pg/pgxs.mk BUILD=$(BUILD) PG_CONFIG=$(PG_CONFIG) uninstall
	dir="$(DESTDIR)$$($(PG_CONFIG) --sharedir)/extension"; ! cmp -s sql/alias/vector.control "$$dir/vector.control" || \
		rm -f "$$dir/vector.control" "$$dir/vector--0.8.6.sql"
	for p in vectron-worker vectron-pd vectronctl; do rm -f "$(DESTDIR)$$($(PG_CONFIG) --bindir)/$$p"; done
	rm -f "$(DESTDIR)$$($(PG_CONFIG) --docdir)/vectron/cluster.md"

# In a build with switches (DEFINES) what they do not change is taken from PLAIN, the build without.
PLAIN ?=
SWITCHED := $(if $(PLAIN),$(shell grep -rlE --include='*.[ch]' 'RAFT_BUGS|VT_BREAKS' src test))
$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(if $(PLAIN),sh test/harness/same.sh $(PLAIN)/obj/$*.o $@ $(SWITCHED) || )$(CC) $(VT_CFLAGS) -c -o $@ $<

define module_rules
$(BUILD)/lib$(1).a: $$(call objects,$(1))
	@mkdir -p $$(@D)
	rm -f $$@ && ar rcs $$@ $$^
lib$(1): $(BUILD)/lib$(1).a
endef
$(foreach m,$(MODULES),$(eval $(call module_rules,$(m))))

# Programs: main.c apart, so that unit tests can link the rest.
define program_rules
$(BUILD)/lib$(1)_parts.a: $$(filter-out %/main.o,$$(call objects,$(1)))
	@mkdir -p $$(@D)
	rm -f $$@ && ar rcs $$@ $$^
endef
$(foreach p,worker pd,$(eval $(call program_rules,$(p))))

$(BUILD)/vectron-worker: $(BUILD)/obj/src/worker/main.o $(foreach m,$(LIBS_worker),$(call lib,$(m)))
	$(CC) $(VT_LDFLAGS) -o $@ $^ $(SYS_LIBS) $(HTTP_LIBS)
$(BUILD)/vectron-pd: $(BUILD)/obj/src/pd/main.o $(foreach m,$(LIBS_pd),$(call lib,$(m)))
	$(CC) $(VT_LDFLAGS) -o $@ $^ $(SYS_LIBS) $(HTTP_LIBS)
$(BUILD)/vectronctl: $(call objects,ctl) $(foreach m,$(LIBS_client),$(call lib,$(m)))
	$(CC) $(VT_LDFLAGS) -o $@ $^ $(SYS_LIBS)

# Unit tests: test/unit/<module>_<topic>.c, one program each.
UNIT_SOURCES = $(wildcard test/unit/*.c)
UNIT_PROGRAMS = $(patsubst test/unit/%.c,$(BUILD)/unit/%,$(UNIT_SOURCES))
.SECONDARY:
.SECONDEXPANSION:
$(BUILD)/unit/%: $(BUILD)/obj/test/unit/%.o $(BUILD)/obj/test/harness/only.o $$(foreach m,$$(LIBS_$$(call test_module,$$*)),$$(call present,$$(m)))
	@mkdir -p $(@D)
	$(CC) $(VT_LDFLAGS) -o $@ $^ -lcmocka $(SYS_LIBS) $(if $(filter http,$(call test_module,$*)),$(HTTP_LIBS))

## make unit            unit tests; unit-<module> those of one module
unit: $(UNIT_PROGRAMS)
	@for t in $^; do echo "== $$t"; $$t || exit 1; done
unit-%: $$(filter $$(BUILD)/unit/$$*_$$(percent),$$(UNIT_PROGRAMS))
	@for t in $^; do echo "== $$t"; $$t || exit 1; done
test-programs: $(UNIT_PROGRAMS) $(BUILD)/powerloss.so $(BUILD)/stalls.so $(BUILD)/alter_row chaos-programs
sim-programs: $(BUILD)/pdsim $(if $(wildcard test/sim/*.c),$(BUILD)/sim) $(if $(wildcard test/lin/*.c),$(BUILD)/lin)

# The simulator of Raft and of shards, with the machine of src/worker compiled in;
# LevelDB and the graph are its own models.  And the linearizability checker.
$(BUILD)/sim: $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard test/sim/*.c)) \
		$(patsubst %,$(BUILD)/obj/src/worker/%.o,apply checkpoint door heir idset install lend session_facts sessions shard shard_load split transfer) $(BUILD)/obj/src/store/rows.o \
		$(patsubst %,$(BUILD)/obj/test/lin/%.o,append search) \
		$(foreach m,raft wire vec base,$(call lib,$(m)))
	$(CC) $(VT_LDFLAGS) -o $@ $^ -lxxhash -lcrypto -lm
$(BUILD)/lin: $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard test/lin/*.c)) $(BUILD)/libbase.a
	$(CC) $(VT_LDFLAGS) -o $@ $^ -lxxhash -lm

# The simulator of the placement driver's scheduling, around the driver's own code.
$(BUILD)/pdsim: $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard test/pdsim/*.c)) $(foreach m,$(LIBS_pd),$(call lib,$(m)))
	$(CC) $(VT_LDFLAGS) -o $@ $^ $(SYS_LIBS)

# The benchmarks.  hnswlib stands beside us when its headers are installed.
BENCH_ARGS ?=
SQL_ARGS ?=
PGVECTOR ?=
RIVAL = $(if $(wildcard /usr/include/hnswlib/hnswlib.h),-DHAVE_HNSWLIB)
RIVAL_VERSION = $(shell dpkg-query -W -f '$${Version}' libhnswlib-dev 2>/dev/null || echo unknown)
$(BUILD)/obj/test/bench/hnsw/report.o: DEFINES += $(if $(RIVAL),-DRIVAL_VERSION='"$(RIVAL_VERSION)"')
$(BUILD)/obj/test/bench/hnsw/%.o: test/bench/hnsw/%.cc
	@mkdir -p $(@D)
	g++ -std=c++14 -O3 -march=native $(RIVAL) -MMD -MP -c -o $@ $<
$(BUILD)/hnsw_bench: $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard test/bench/hnsw/*.c)) \
		$(BUILD)/obj/test/bench/hnsw/rival_hnswlib.o $(foreach m,client $(LIBS_hnsw),$(call lib,$(m)))
	g++ $(VT_LDFLAGS) -o $@ $^ -lxxhash -lm
$(BUILD)/filter_bench: $(BUILD)/obj/test/bench/filter/filter_bench.o $(BUILD)/obj/test/bench/hnsw/set.o \
		$(foreach m,$(LIBS_worker),$(call lib,$(m)))
	$(CC) $(VT_LDFLAGS) -o $@ $^ $(SYS_LIBS)
$(BUILD)/vec_bench: $(BUILD)/obj/test/bench/vec_bench.o $(foreach m,$(LIBS_vec),$(call lib,$(m)))
	$(CC) $(VT_LDFLAGS) -o $@ $^ -lxxhash -lm

# A thousand workers, as threads, at a placement driver that begins to lead.
$(BUILD)/reign_bench: $(BUILD)/obj/test/bench/reign_bench.o $(foreach m,net wire base,$(call lib,$(m)))
	$(CC) $(VT_LDFLAGS) -o $@ $^ $(SYS_LIBS)

$(BUILD)/sync_count.so: test/bench/sql/sync_count.c test/bench/sql/sync_count.h
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 -Wall -Wextra -Werror -shared -fPIC -o $@ $< -ldl -lm
$(BUILD)/obj/test/bench/sql/%.o: VT_CFLAGS += -I$(shell $(PG_CONFIG) --includedir)
$(BUILD)/sql_bench: $(patsubst %.c,$(BUILD)/obj/%.o,$(filter-out %/sync_count.c,$(wildcard test/bench/sql/*.c))) \
		$(BUILD)/obj/test/bench/hnsw/set.o $(foreach m,$(LIBS_client),$(call lib,$(m)))
	$(CC) $(VT_LDFLAGS) -o $@ $^ -lpq -ljansson -lssl -lcrypto -lxxhash -lm

# A whole cluster at the door of src/client.  etcd is asked when the headers of nghttp2 are installed.
NGHTTP2 = $(if $(wildcard /usr/include/nghttp2/nghttp2.h),yes)
$(BUILD)/obj/test/bench/cluster/etcd.o: DEFINES += $(if $(NGHTTP2),-DHAVE_NGHTTP2)
$(BUILD)/cluster_bench: $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard test/bench/cluster/*.c)) \
		$(foreach m,hnsw $(LIBS_client),$(call lib,$(m)))
	$(CC) $(VT_LDFLAGS) -o $@ $^ -ljansson -lssl -lcrypto -lxxhash $(if $(NGHTTP2),-lnghttp2) -lm

## make check-pgvector   beside the real pgvector: PGVECTOR=dir, where it was installed with DESTDIR=dir
check-pgvector: all
	env -u MAKEFLAGS -u MFLAGS BUILD="$(BUILD)" PG_CONFIG="$(PG_CONFIG)" sh test/harness/pgvector.sh "$(PGVECTOR)"

## make bench           recall and speed: the Raft core, the graph beside hnswlib, the whole path through SQL beside pgvector
##                      DATA=dir adds sets, PGVECTOR=dir an installed pgvector; BENCH_ARGS, SQL_ARGS options and modes
bench: $(BUILD)/hnsw_bench $(BUILD)/sim
	$(BUILD)/sim --bench
	$(BUILD)/hnsw_bench --demo demo --out $(BUILD)/bench $(if $(DATA),--data "$(DATA)") $(BENCH_ARGS)
	$(MAKE) bench-sql
# PGXS has a variable DATA of its own: what it makes must not see ours.
bench-sql: $(BUILD)/sql_bench $(BUILD)/sync_count.so
	env -u MAKEFLAGS -u MFLAGS -u DATA $(MAKE) -s BUILD="$(BUILD)" PG_CONFIG="$(PG_CONFIG)" all
	env -u MAKEFLAGS -u MFLAGS -u DATA BUILD="$(BUILD)" PG_CONFIG="$(PG_CONFIG)" sh test/bench/sql/run.sh $(if $(PGVECTOR),--pgvector "$(PGVECTOR)") \
		$(if $(DATA),--data "$(DATA)") $(SQL_ARGS)

## make bench-start SET=dir   how soon a worker that was killed answers again; START_ARGS options, PLACE=dir data directories
SET ?= demo
PLACE ?= /tmp
START_ARGS ?=
$(BUILD)/start_bench: $(BUILD)/obj/test/bench/start/start_bench.o $(BUILD)/obj/test/bench/hnsw/set.o \
		$(foreach m,$(LIBS_client),$(call lib,$(m)))
	$(CC) $(VT_LDFLAGS) -o $@ $^ -ljansson -lssl -lcrypto -lxxhash -lm
bench-start: $(BUILD)/start_bench $(PROGRAMS)
	$(BUILD)/start_bench --programs "$(BUILD)" --set "$(SET)" --place "$(PLACE)" $(START_ARGS)

# What stands between a process and its machine, for tests of power loss and of chaos.
CRASH = $(addprefix test/crash/,layer.c power.c names.c faults.c clock.c memory.c)
$(BUILD)/powerloss.so: $(CRASH) test/crash/layer.h
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 -Wall -Wextra -Werror -shared -fPIC -o $@ $(CRASH) -ldl -pthread

# Threads that stand still at random.
$(BUILD)/stalls.so: test/harness/stalls.c
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 -Wall -Wextra -Werror -shared -fPIC -o $@ $< -ldl -pthread

# Changes a row behind a worker's back, for test/t/027_verify.pl.
$(BUILD)/alter_row: $(BUILD)/obj/test/crash/alter_row.o $(foreach m,$(LIBS_store),$(call lib,$(m)))
	$(CC) $(VT_LDFLAGS) -o $@ $^ $(LEVELDB_LIBS) -lxxhash

# The network, the load and the faults of test/t/120_chaos.pl.
CHAOS = $(addprefix $(BUILD)/,chaos_proxy chaos_load powerloss.so lin)
chaos-programs: $(CHAOS)
$(BUILD)/chaos_proxy: $(patsubst %,$(BUILD)/obj/test/chaos/%.o,proxy street) $(foreach m,$(LIBS_wire),$(call lib,$(m)))
	$(CC) $(VT_LDFLAGS) -o $@ $^ -lxxhash
$(BUILD)/obj/test/chaos/%.o: VT_CFLAGS += -I$(shell $(PG_CONFIG) --includedir)
$(BUILD)/chaos_load: $(patsubst %,$(BUILD)/obj/test/chaos/%.o,load clients steps compare once recall rows db) \
		$(foreach m,$(LIBS_client),$(call lib,$(m)))
	$(CC) $(VT_LDFLAGS) -o $@ $^ -lpq -ljansson -lssl -lcrypto -lxxhash -lm
## make check-chaos ROUNDS=n      rounds of a cluster under load, a fault in each; SECONDS=n of load in one,
##                      FAULT=name[,name ...] instead of a draw (name+name: in turn in one round), SEED=n repeats one;
##                      what was cut goes on when it is called again, FROM=1 begins anew
ROUNDS ?= 35
SECONDS ?= 20
FAULT ?=
check-chaos: all chaos-programs
	BUILD="$(BUILD)" PG_CONFIG="$(PG_CONFIG)" sh test/harness/chaos.sh "$(ROUNDS)" "$(SECONDS)" "$(FAULT)" "$(SEED)"

## make check-sim RUNS=m          more seeds of the simulator, on from the last one; SEED=n: from there
SEED ?=
RUNS ?= 1000
check-sim: $(BUILD)/sim
	$(if $(SEED),$(BUILD)/sim --seed $(SEED) --runs $(RUNS),BUILD="$(BUILD)" sh test/harness/seeds.sh $(RUNS))
## make check-shards RUNS=m       the same of shards and PostgreSQL servers
check-shards: $(BUILD)/sim
	$(if $(SEED),$(BUILD)/sim --shards --seed $(SEED) --runs $(RUNS),BUILD="$(BUILD)" sh test/harness/seeds.sh $(RUNS) shards)

## make check-pdsim SEEDS=m     scenarios of the placement driver's scheduling, m seeds of each, and the big ones
SEEDS ?= 50
check-pdsim: $(BUILD)/pdsim
	$(BUILD)/pdsim --seeds $(SEEDS) test/pdsim/scenarios/*.txt
	$(BUILD)/pdsim test/pdsim/big/*.txt

## make coverage        lines and branches of src/raft that its tests run; above 95 % each
coverage:
	BUILD="$(BUILD)" sh test/harness/coverage.sh
## make valgrind        the unit tests of src/raft, all scenarios and a few worlds under valgrind
VALGRIND = valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite,possible
valgrind: $(filter $(BUILD)/unit/raft_%,$(UNIT_PROGRAMS)) $(BUILD)/sim
	@for t in $(filter $(BUILD)/unit/raft_%,$^); do echo "== $$t"; $(VALGRIND) $$t || exit 1; done
	$(VALGRIND) $(BUILD)/sim --scenarios test/sim/scenarios
	$(VALGRIND) $(BUILD)/sim --seed 1 --runs 20
	$(VALGRIND) $(BUILD)/sim --shards --seed 1 --runs 10

## make fuzz            every decoder fed with damaged input; FUZZ_SECONDS each (30), needs clang
FUZZ_SECONDS ?= 30
fuzz:
	BUILD="$(BUILD)" FUZZ_SECONDS="$(FUZZ_SECONDS)" sh test/harness/fuzz.sh

## make check           every test; check-quick in two minutes; check-long goes on (FROM=n: with chaos alone, from history n)
check check-quick check-long check-bare:
	./run $(subst check-quick,check --quick,$(subst check-long,check --long,$(subst check-bare,check --bare,$@)))
## make check-laws      each law broken by its switch makes a named test fail
check-laws:
	sh test/harness/laws.sh

## make demo            the demonstration
demo:
	./run demo
## make lint            arrows, headers, static checks
lint:
	sh test/lint/lint.sh $(BUILD)
## make fmt             format with clang-format
fmt:
	clang-format -i $(wildcard src/*/*.c src/*/*.h test/*/*.c test/*/*.h)

## make asan / tsan     the unit tests under sanitizers, tsan those that have threads; NAMES="worker_heirs ..." only these.
##                      asan some seeds of the simulators, too
THREADED = $(filter $(foreach m,base client door hnsw http net pd replica store worker,$(BUILD)/unit/$m_%),$(UNIT_PROGRAMS))
NAMES ?=
sanitized = $(if $(NAMES),$(addprefix $(BUILD)/unit/,$(NAMES)),$(1))
sanitized-all: $(call sanitized,$(UNIT_PROGRAMS) $(BUILD)/sim $(BUILD)/pdsim)
sanitized-threaded: $(call sanitized,$(THREADED))
sanitized-%:
	sh test/harness/sanitize.sh $(BUILD) $(^F)
asan:
	$(MAKE) BUILD=$(BUILD)/asan SANITIZE=address,undefined CFLAGS="-O1 -g" sanitized-all
tsan:
	$(MAKE) BUILD=$(BUILD)/tsan SANITIZE=thread CFLAGS="-O1 -g" sanitized-threaded

clean:
	rm -rf $(BUILD)

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
