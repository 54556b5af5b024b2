build-asan/obj/src/pd/service.o: src/pd/service.c src/pd/pd.h \
 src/base/status.h src/net/net.h src/wire/wire.h src/base/bytes.h \
 src/replica/replica.h src/raft/raft.h src/store/store.h src/base/clock.h \
 src/base/log.h src/pd/service.h src/pd/catalog.h src/pd/plan.h
src/pd/pd.h:
src/base/status.h:
src/net/net.h:
src/wire/wire.h:
src/base/bytes.h:
src/replica/replica.h:
src/raft/raft.h:
src/store/store.h:
src/base/clock.h:
src/base/log.h:
src/pd/service.h:
src/pd/catalog.h:
src/pd/plan.h:
