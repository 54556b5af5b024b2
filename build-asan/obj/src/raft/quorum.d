build-asan/obj/src/raft/quorum.o: src/raft/quorum.c src/raft/internal.h \
 src/base/prng.h src/raft/raft.h src/base/bytes.h src/base/status.h
src/raft/internal.h:
src/base/prng.h:
src/raft/raft.h:
src/base/bytes.h:
src/base/status.h:
