build-asan/obj/src/worker/shard.o: src/worker/shard.c src/worker/shard.h \
 src/worker/records.h src/base/bytes.h src/base/status.h src/hnsw/hnsw.h \
 src/vec/vec.h src/replica/replica.h src/raft/raft.h src/store/store.h \
 src/wire/wire.h src/base/breaks.h
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
src/base/breaks.h:
