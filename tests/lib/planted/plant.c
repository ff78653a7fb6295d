/* SPDX-License-Identifier: Apache-2.0 */
/* Which planted bug is in, and who comes between (base/plant.h); part of hvrepl-planted only. */
#include "base/plant.h"

#include <stdlib.h>

const char *hvri_plant;
const char *hvri_plant_too;
void (*hvri_yield)(void);

/* Programs that know nothing of it are told by their environment. */
static __attribute__((constructor)) void plant(void)
{
	hvri_plant = getenv("HVREPL_PLANTED");
}
