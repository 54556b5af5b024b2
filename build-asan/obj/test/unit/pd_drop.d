build-asan/obj/test/unit/pd_drop.o: test/unit/pd_drop.c \
 test/unit/pd_world.h test/unit/../../src/pd/service.h \
 test/unit/../../src/pd/catalog.h test/unit/../../src/pd/plan.h \
 src/wire/wire.h src/base/bytes.h src/base/status.h src/replica/replica.h \
 src/raft/raft.h src/store/store.h test/unit/../../src/pd/pd.h \
 src/net/net.h src/base/log.h src/base/prng.h test/unit/scratch.h
test/unit/pd_world.h:
test/unit/../../src/pd/service.h:
test/unit/../../src/pd/catalog.h:
test/unit/../../src/pd/plan.h:
src/wire/wire.h:
src/base/bytes.h:
src/base/status.h:
src/replica/replica.h:
src/raft/raft.h:
src/store/store.h:
test/unit/../../src/pd/pd.h:
src/net/net.h:
src/base/log.h:
src/base/prng.h:
test/unit/scratch.h:
