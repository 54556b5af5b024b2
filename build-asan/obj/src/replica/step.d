build-asan/obj/src/replica/step.o: src/replica/step.c \
 src/replica/replica.h src/raft/raft.h src/base/bytes.h src/base/status.h \
 src/store/store.h src/wire/wire.h src/replica/private.h
src/replica/replica.h:
src/raft/raft.h:
src/base/bytes.h:
src/base/status.h:
src/store/store.h:
src/wire/wire.h:
src/replica/private.h:
