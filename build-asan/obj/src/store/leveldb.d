build-asan/obj/src/store/leveldb.o: src/store/leveldb.c src/base/breaks.h \
 src/store/store.h src/base/bytes.h src/base/status.h
src/base/breaks.h:
src/store/store.h:
src/base/bytes.h:
src/base/status.h:
