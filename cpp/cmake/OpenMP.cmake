# Provides the target bptt_openmp, and the option BPTT_OPENMP.
#
# Only parallel/openmp.cpp is compiled with OpenMP: elsewhere it could change code, as that of Eigen.
find_package(OpenMP COMPONENTS CXX QUIET)
option(BPTT_OPENMP "Run threads with OpenMP; without it, with a thread pool alone"
       ${OpenMP_CXX_FOUND})
add_library(bptt_openmp INTERFACE)
if(BPTT_OPENMP)
  if(NOT OpenMP_CXX_FOUND)
    message(FATAL_ERROR "BPTT_OPENMP is ON, but ${CMAKE_CXX_COMPILER_ID} "
                        "${CMAKE_CXX_COMPILER_VERSION} has no OpenMP here; "
                        "install its OpenMP library, or configure with BPTT_OPENMP=OFF")
  endif()
  separate_arguments(openmp_flags NATIVE_COMMAND "${OpenMP_CXX_FLAGS}")
  set_source_files_properties(
    cpp/core/parallel/openmp.cpp
    PROPERTIES COMPILE_OPTIONS "${openmp_flags}" INCLUDE_DIRECTORIES "${OpenMP_CXX_INCLUDE_DIRS}")
  target_link_libraries(bptt_openmp INTERFACE $<LINK_ONLY:OpenMP::OpenMP_CXX> ${CMAKE_DL_LIBS})
  message(STATUS "OpenMP: ${OpenMP_CXX_LIBRARIES}")
else()
  message(STATUS "OpenMP: off")
endif()
