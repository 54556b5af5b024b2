build-asan/obj/src/pd/catalog.o: src/pd/catalog.c src/pd/catalog.h \
 src/pd/plan.h src/wire/wire.h src/base/bytes.h src/base/status.h \
 src/replica/replica.h src/raft/raft.h src/store/store.h
src/pd/catalog.h:
src/pd/plan.h:
src/wire/wire.h:
src/base/bytes.h:
src/base/status.h:
src/replica/replica.h:
src/raft/raft.h:
src/store/store.h:
