build-asan/obj/src/pd/operate.o: src/pd/operate.c src/base/hash.h \
 src/base/bytes.h src/base/status.h src/base/log.h src/pd/service.h \
 src/pd/catalog.h src/pd/plan.h src/wire/wire.h src/replica/replica.h \
 src/raft/raft.h src/store/store.h src/pd/pd.h src/net/net.h
src/base/hash.h:
src/base/bytes.h:
src/base/status.h:
src/base/log.h:
src/pd/service.h:
src/pd/catalog.h:
src/pd/plan.h:
src/wire/wire.h:
src/replica/replica.h:
src/raft/raft.h:
src/store/store.h:
src/pd/pd.h:
src/net/net.h:
