build-asan/obj/src/worker/pool.o: src/worker/pool.c src/base/clock.h \
 src/worker/private.h src/worker/indexer.h src/net/net.h src/wire/wire.h \
 src/base/bytes.h src/base/status.h src/worker/scan.h \
 src/worker/records.h src/hnsw/hnsw.h src/vec/vec.h src/worker/shard.h \
 src/replica/replica.h src/raft/raft.h src/store/store.h \
 src/worker/worker.h
src/base/clock.h:
src/worker/private.h:
src/worker/indexer.h:
src/net/net.h:
src/wire/wire.h:
src/base/bytes.h:
src/base/status.h:
src/worker/scan.h:
src/worker/records.h:
src/hnsw/hnsw.h:
src/vec/vec.h:
src/worker/shard.h:
src/replica/replica.h:
src/raft/raft.h:
src/store/store.h:
src/worker/worker.h:
