build-asan/obj/src/replica/writer.o: src/replica/writer.c \
 src/replica/replica.h src/raft/raft.h src/base/bytes.h src/base/status.h \
 src/store/store.h src/wire/wire.h src/base/breaks.h \
 src/replica/private.h
src/replica/replica.h:
src/raft/raft.h:
src/base/bytes.h:
src/base/status.h:
src/store/store.h:
src/wire/wire.h:
src/base/breaks.h:
src/replica/private.h:
