# Installs sboms/bptt.cdx.json among the wheel's metadata (PEP 770): the libraries whose headers are
# compiled into the modules. auditwheel adds a file of its own for the libraries that it copies.
if(DEFINED SKBUILD_METADATA_DIR)
  set(BPTT_VERSION "${PROJECT_VERSION}")
  if(DEFINED SKBUILD_PROJECT_VERSION_FULL)
    set(BPTT_VERSION "${SKBUILD_PROJECT_VERSION_FULL}")
  endif()
  set(BPTT_EIGEN_VERSION "${Eigen3_VERSION}")
  if(EIGEN_INCLUDE_DIR)
    file(STRINGS "${EIGEN_INCLUDE_DIR}/Eigen/Version" line REGEX "define EIGEN_VERSION_STRING")
    string(REGEX MATCH "[0-9]+\\.[0-9]+\\.[0-9]+" BPTT_EIGEN_VERSION "${line}")
  endif()
  configure_file(
    "${PROJECT_SOURCE_DIR}/cpp/cmake/bptt.cdx.json.in" "${PROJECT_BINARY_DIR}/bptt.cdx.json" @ONLY)
  install(FILES "${PROJECT_BINARY_DIR}/bptt.cdx.json" DESTINATION "${SKBUILD_METADATA_DIR}/sboms")
endif()
