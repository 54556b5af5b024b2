build-asan/obj/src/worker/transfer.o: src/worker/transfer.c \
 src/worker/shard.h src/worker/records.h src/base/bytes.h \
 src/base/status.h src/hnsw/hnsw.h src/vec/vec.h src/replica/replica.h \
 src/raft/raft.h src/store/store.h src/wire/wire.h src/base/log.h
src/worker/shard.h:
src/worker/records.h:
src/base/bytes.h:
src/base/status.h:
src/hnsw/hnsw.h:
src/vec/vec.h:
src/replica/replica.h:
src/raft/raft.h:
src/store/store.h:
src/wire/wire.h:
src/base/log.h:
