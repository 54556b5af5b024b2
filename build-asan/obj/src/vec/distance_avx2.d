build-asan/obj/src/vec/distance_avx2.o: src/vec/distance_avx2.c \
 src/vec/kernels.h src/vec/vec.h
src/vec/kernels.h:
src/vec/vec.h:
