build-asan/obj/src/raft/codec.o: src/raft/codec.c src/base/hash.h \
 src/base/bytes.h src/base/status.h src/raft/internal.h src/base/prng.h \
 src/raft/raft.h
src/base/hash.h:
src/base/bytes.h:
src/base/status.h:
src/raft/internal.h:
src/base/prng.h:
src/raft/raft.h:
