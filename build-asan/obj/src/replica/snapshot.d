build-asan/obj/src/replica/snapshot.o: src/replica/snapshot.c \
 src/replica/replica.h src/raft/raft.h src/base/bytes.h src/base/status.h \
 src/store/store.h src/wire/wire.h src/base/log.h src/base/prng.h \
 src/replica/private.h
src/replica/replica.h:
src/raft/raft.h:
src/base/bytes.h:
src/base/status.h:
src/store/store.h:
src/wire/wire.h:
src/base/log.h:
src/base/prng.h:
src/replica/private.h:
