build-asan/obj/test/unit/worker_apply.o: test/unit/worker_apply.c \
 test/unit/../../src/worker/shard.h test/unit/../../src/worker/records.h \
 src/base/bytes.h src/base/status.h src/hnsw/hnsw.h src/vec/vec.h \
 src/replica/replica.h src/raft/raft.h src/store/store.h src/wire/wire.h \
 src/base/hash.h src/base/prng.h
test/unit/../../src/worker/shard.h:
test/unit/../../src/worker/records.h:
src/base/bytes.h:
src/base/status.h:
src/hnsw/hnsw.h:
src/vec/vec.h:
src/replica/replica.h:
src/raft/raft.h:
src/store/store.h:
src/wire/wire.h:
src/base/hash.h:
src/base/prng.h:
