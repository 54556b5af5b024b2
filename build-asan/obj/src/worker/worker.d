build-asan/obj/src/worker/worker.o: src/worker/worker.c \
 src/worker/worker.h src/base/status.h src/base/clock.h src/base/log.h \
 src/worker/private.h src/worker/indexer.h src/net/net.h src/wire/wire.h \
 src/base/bytes.h src/worker/scan.h src/worker/records.h src/hnsw/hnsw.h \
 src/vec/vec.h src/worker/shard.h src/replica/replica.h src/raft/raft.h \
 src/store/store.h
src/worker/worker.h:
src/base/status.h:
src/base/clock.h:
src/base/log.h:
src/worker/private.h:
src/worker/indexer.h:
src/net/net.h:
src/wire/wire.h:
src/base/bytes.h:
src/worker/scan.h:
src/worker/records.h:
src/hnsw/hnsw.h:
src/vec/vec.h:
src/worker/shard.h:
src/replica/replica.h:
src/raft/raft.h:
src/store/store.h:
