#include "etwcap.h"

uint32_t ec_abi_version(void) { return EC_ABI_VERSION; }
