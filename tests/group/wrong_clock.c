/* Preloaded into a program it shows another time of day. All other clocks stay as they are. */
#define _GNU_SOURCE
#include <stddef.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long ahead;

__attribute__((constructor)) static void read_environment(void)
{
	const char *seconds = getenv("TEST_CLOCK_AHEAD_SECONDS");
	ahead = seconds ? atol(seconds) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	int result = (int)syscall(SYS_clock_gettime, clock, now);
	if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		now->tv_sec += ahead;
	return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	int result = (int)syscall(SYS_gettimeofday, now, zone);
	if (result == 0)
		now->tv_sec += ahead;
	return result;
}

time_t time(time_t *now)
{
	struct timespec shown;
	clock_gettime(CLOCK_REALTIME, &shown);
	if (now != NULL)
		*now = shown.tv_sec;
	return shown.tv_sec;
}
