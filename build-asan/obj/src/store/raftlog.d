build-asan/obj/src/store/raftlog.o: src/store/raftlog.c src/store/store.h \
 src/base/bytes.h src/base/status.h
src/store/store.h:
src/base/bytes.h:
src/base/status.h:
